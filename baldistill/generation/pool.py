"""A pool of engines as long-lived Ray actors.

An engine is started once for a run, not once for a step: starting one costs 9-11 s even for a
tiny model, feeding one that is there 0.3 s. The pool travels by value into Ray Data functions
(it holds actor handles only), which feed it in batches; every call names the model that it wants,
so an actor that was restarted loads the right weights, and a new student is a swap of weights.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from baldistill.answers.completion import Completion
from baldistill.config.engines import EngineConfig
from baldistill.generation.bundles import alone, bundles_of, inside
from baldistill.generation.dispatcher import (
    Call,
    Dispatcher,
    Kept,
    nothing_kept,
    packed,
    result_of,
    unpacked,
)
from baldistill.generation.engine import Engine, Noticing, Stoppable
from baldistill.generation.factory import build_engine
from baldistill.generation.model_ref import ModelRef
from baldistill.generation.types import Request, Sampling
from baldistill.generation.vllm.start import environment
from baldistill.processes import ProcessId
from baldistill.ray_patches import CHILDREN_SEE_GPUS

__all__ = ["EngineActor", "Pool", "result_of"]

_FIRST_BATCHES = 8  # for each engine
_LOOK_S = 0.05  # between two looks for the driver; one costs 20 microseconds


class EngineActor:
    """One engine in its own process.

    Rows come and go as bytes (`dispatcher.packed`).
    """

    def __init__(
        self, config: EngineConfig, driver: ProcessId | None = None, journals: str | None = None
    ) -> None:
        """Remember what to build: an error in a call reaches the caller as what it is.

        Args:
            config: Which engine.
            driver: The process with which this one ends.
            journals: See `build_engine`.
        """
        if driver is not None:
            threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
        self._config = config
        self._journals = journals
        self._changed = threading.Condition()
        self._calls = 0
        self._engine: Engine | None = None
        self._model: ModelRef | None = None

    # another engine does what this one died of
    @ray.method(max_task_retries=0)  # type: ignore[untyped-decorator]
    def generate(self, model: ModelRef, requests: bytes, sampling: Sampling) -> bytes:
        """Answer with the given model, loading it first if another is in memory."""
        with self._using(model) as engine:
            return packed(engine.generate(unpacked(requests), sampling))

    @ray.method(max_task_retries=0)  # type: ignore[untyped-decorator]
    def score(self, model: ModelRef, token_ids: bytes) -> bytes:
        """Score with the given model, loading it first if another is in memory."""
        with self._using(model) as engine:
            return packed(engine.score(unpacked(token_ids)))

    def warm(self, model: ModelRef) -> None:
        """Load a model ahead of the first batch of a piece of work."""
        with self._using(model) as engine:
            if isinstance(engine, Stoppable):
                engine.begin()

    @ray.method(concurrency_group="notices")  # type: ignore[untyped-decorator]
    def notice(self) -> str:
        """What the engine has to say, also while all its threads are at work."""
        return self._engine.notice() if isinstance(self._engine, Noticing) else ""

    @contextmanager
    def _using(self, model: ModelRef) -> Iterator[Engine]:
        """The engine with a model; it is swapped when no thread works with the one before."""
        with self._changed:
            while model != self._model and self._calls > 0:
                self._changed.wait()
            if self._engine is None:
                self._engine = build_engine(self._config, self._journals)
            if model != self._model:
                self._model = None  # a load that fails leaves none
                self._engine.load(model)
                self._model = model
            self._calls += 1
            engine = self._engine
        try:
            yield engine
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()


def _end_with(driver: ProcessId) -> None:
    """End this process when the driver has ended, however it did.

    Ray does so, too, but later; until then an engine would make calls whose answers nobody keeps.
    """
    while not driver.is_gone():
        time.sleep(_LOOK_S)
    os._exit(1)


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines that share the work; picklable.

    Attributes:
        actors: Handles of the `EngineActor`s.
        model: What they answer with.
        batch_size: Prompts that one engine takes at once.
        threads: Batches that one engine works on at the same time.
        groups: The bundles of each engine on several GPUs.
    """

    actors: tuple[Any, ...]
    model: ModelRef
    batch_size: int
    threads: int = 1
    groups: tuple[PlacementGroup, ...] = ()

    @classmethod
    def start(
        cls,
        config: EngineConfig,
        model: ModelRef,
        *,
        replicas: int,
        bundle: Mapping[str, float],
        batch_size: int,
        bundles: int = 1,
        one_node: bool = True,
        journals: str | None = None,
    ) -> Pool:
        """Start the actors; they load the model while the caller goes on.

        A dead actor is restarted by Ray and its batches are done by the others; a batch that
        kills four is an error. Where other jobs hold the resources, or an autoscaler still starts
        nodes, the pool waits: that all steps of a run fit is checked before
        (`placement/resources.py`). Of `replicas`, those that there is room for do the work, the
        others join when there is.

        Args:
            config: Which engine, with its options.
            model: To load.
            replicas: Engines side by side.
            bundle: What an engine reserves: amounts of `CPU`, `GPU`, `accelerator_type:NAME` and
                custom resources.
            batch_size: Prompts that one engine takes at once.
            bundles: So many times, for an engine on several GPUs.
            one_node: All of them on one node.
            journals: Folder that the driver has made and all engines see; see `build_engine`.
        """
        variables = environment() if config.kind == "vllm" else {}
        variables["OMP_NUM_THREADS"] = str(max(1, int(bundle.get("CPU", 0.0) * bundles)))
        on_gpu = bundle.get("GPU", 0.0) > 0
        if not on_gpu:
            variables["CUDA_VISIBLE_DEVICES"] = ""  # an engine without a share takes none
        groups: tuple[PlacementGroup, ...] = ()
        places = [alone(bundle)] * replicas
        if bundles > 1:  # the engine's own workers take them; it sees the GPUs, and takes none
            variables |= CHILDREN_SEE_GPUS
            groups = tuple(bundles_of(bundle, bundles, one_node=one_node) for _ in range(replicas))
            places = [inside(group) for group in groups]
        threads = config.threads(batch_size, on_gpu=on_gpu)
        options = {
            "max_restarts": -1,
            "max_task_retries": 3,
            "max_concurrency": threads,
            "runtime_env": {"env_vars": variables},
        }
        driver = ProcessId.current()
        # a thread of its own tells what holds up the others
        remote = ray.remote(concurrency_groups={"notices": 1})(EngineActor)
        actors = tuple(
            remote.options(**options, **place).remote(config, driver, journals) for place in places
        )
        pool = cls(actors, model, batch_size, threads, groups)
        for actor in pool.actors:
            actor.warm.remote(model)
        return pool

    def wait(self) -> None:
        """Wait for the first engine to have the model in memory.

        Raises:
            UserError: It does not fit, or is no model, or the engine's package is missing.
        """
        warmed = [actor.warm.remote(self.model) for actor in self.actors]
        (first,), _ = ray.wait(warmed, num_returns=1)
        result_of(first)

    @property
    def feed_size(self) -> int:
        """Rows that a feeding function should bring at once to keep all engines busy."""
        return 2 * (self.threads + 1) * self.batch_size * len(self.actors)

    def feed_sizes(self) -> Iterator[int]:
        """Rows to bring from one time to the next: few at first, so that the work begins soon."""
        size = min(self.feed_size, _FIRST_BATCHES * self.batch_size * len(self.actors))
        while True:
            yield size
            size = min(self.feed_size, 2 * size)

    def using(self, model: ModelRef) -> Pool:
        """The same engines with another model; they swap at their next batch."""
        return replace(self, model=model)

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> list[Completion]:
        """Answer all requests; the order of the answers is that of the requests.

        Args:
            requests: Consumed `feed_sizes` at a time, while the engines still have work.
            sampling: How to write.
        """
        answers: dict[int, Completion] = {}
        for numbered in self._scatter(self._generate_calls(requests, sampling)):
            answers.update(numbered)
        return [answers[number] for number in range(len(answers))]

    def stream(
        self, requests: Iterable[Request], sampling: Sampling, kept: Kept = nothing_kept
    ) -> Iterator[list[Completion]]:
        """Answer all requests, in any order, and keep none: yields whatever has come back.

        Args:
            requests: Consumed `feed_sizes` at a time, while the engines still have work.
            sampling: How to write.
            kept: Asked when an engine has died.
        """
        for numbered in self._scatter(self._generate_calls(requests, sampling), kept):
            yield [completion for _, completion in numbered]

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probabilities of texts without context, in their order."""
        parts = self._parts([len(tokens) for tokens in token_ids])
        calls = (Call(part, "score", [token_ids[i] for i in part]) for part in parts)
        scores: dict[int, np.ndarray] = {}
        for numbered in self._scatter(calls):
            scores.update(numbered)
        return [scores[number] for number in range(len(token_ids))]

    def close(self) -> None:
        """End the actors and free what they hold."""
        for actor in self.actors:
            ray.kill(actor)
        for group in self.groups:
            remove_placement_group(group)

    def _scatter(
        self, calls: Iterator[Call], kept: Kept = nothing_kept
    ) -> Iterator[list[tuple[int, Any]]]:
        # a batch waits on each engine, beside those that it works on
        most_rows = (self.threads + 1) * self.batch_size
        return Dispatcher(self.actors, self.model, most_rows, kept).run(calls)

    def _generate_calls(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Call]:
        numbered, sizes = enumerate(requests), self.feed_sizes()
        while window := list(itertools.islice(numbered, next(sizes))):
            for part in self._parts([len(str(request.prompt)) for _, request in window]):
                numbers, batch = zip(*(window[i] for i in part), strict=True)
                yield Call(numbers, "generate", batch, (sampling,))

    def _parts(self, lengths: Sequence[int]) -> list[list[int]]:
        """Batches of row numbers: of like length, for little padding; the longest first.

        No batch is larger than an engine's share of the rows, so that none stands idle.
        """
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        size = min(self.batch_size, max(1, math.ceil(len(order) / len(self.actors))))
        return [order[start : start + size] for start in range(0, len(order), size)]
