"""A pool of engines as long-lived Ray actors.

An engine is started once for a run, not once for a step: starting an engine costs 9-11 s even for
a tiny model, feeding one that is already there 0.3 s. The pool travels by value into Ray Data
functions (it holds actor handles only), which feed it in batches. Every call names the model that
it wants. So an actor that was restarted loads the right weights, and a new student needs only a
swap of weights.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from baldistill.answers.completion import Completion
from baldistill.config.engines import EngineConfig
from baldistill.generation.actor import EngineActor
from baldistill.generation.dispatcher import (
    Call,
    Dispatcher,
    OnProgress,
    SavedAnswers,
    no_saved_answers,
    result_of,
)
from baldistill.generation.types import (
    Continuation,
    Embedding,
    ModelRef,
    Prompt,
    Request,
    Sampling,
)
from baldistill.generation.vllm.start import environment
from baldistill.processes import ProcessId
from baldistill.ray_patches import CHILDREN_SEE_GPUS
from baldistill.run_folder.lock import hold_of
from baldistill.storage import Storage

__all__ = ["EngineActor", "Pool", "options_for_bundle", "result_of", "variables_for_bundle"]

_FIRST_BATCHES = 8  # for each engine


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines that share the work; picklable.

    Attributes:
        actors: Handles of the `EngineActor`s.
        model: The model that they answer with.
        batch_size: Prompts that one engine takes at once.
        threads: Batches that one engine works on at the same time.
        groups: The placement group of each engine on several GPUs.
        notes_calls: Whether it is known after a crash which calls were certainly not sent: the
            engines note those of a server before they send them, and others go nowhere.
        on_progress: Called every second while the engines answer.
    """

    actors: tuple[Any, ...]
    model: ModelRef
    batch_size: int
    threads: int = 1
    groups: tuple[PlacementGroup, ...] = ()
    notes_calls: bool = False
    on_progress: OnProgress | None = None

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
        answers: Storage | None = None,
    ) -> Pool:
        """Start the actors; they load the model while the caller goes on.

        Ray restarts an actor that dies, and the other actors do its batches. A batch that kills
        four actors is an error. Replicas start as soon as the cluster has room for them:
        `placement/resources.py` has checked that all steps of a run fit.

        Args:
            config: Which engine, with its options.
            model: To load.
            replicas: Engines side by side.
            bundle: What an engine reserves: amounts of `CPU`, `GPU`, `accelerator_type:NAME` and
                custom resources.
            batch_size: Prompts that one engine takes at once.
            bundles: How many of these bundles an engine reserves; several for several GPUs.
            one_node: Whether all bundles of an engine must be on one node.
            answers: Folder of the response store; see `build_engine`.
        """
        variables = _variables(config, bundle, bundles)
        groups: tuple[PlacementGroup, ...] = ()
        places = [options_for_bundle(bundle)] * replicas
        if bundles > 1:  # vLLM's workers take the bundles; the engine takes no GPU, but sees theirs
            strategy = "STRICT_PACK" if one_node else "PACK"  # PACK: on as few nodes as possible
            groups = tuple(
                placement_group([dict(bundle)] * bundles, strategy) for _ in range(replicas)
            )
            places = [_options_for_group(group) for group in groups]
        threads = config.threads(batch_size, on_gpu=bundle.get("GPU", 0.0) > 0)
        options = {
            "max_restarts": -1,
            "max_task_retries": 3,
            "max_concurrency": threads,
            "runtime_env": {"env_vars": variables},
        }
        driver = ProcessId.current()
        # One more thread answers `report` while the others work.
        remote = ray.remote(concurrency_groups={"reports": 1})(EngineActor)
        hold = None if answers is None else hold_of(answers)
        actors = tuple(
            remote.options(**options, **place).remote(config, driver, answers, hold)
            for place in places
        )
        notes_calls = config.kind != "openai" or answers is not None
        pool = cls(actors, model, batch_size, threads, groups, notes_calls)
        for actor in pool.actors:
            actor.load.remote(model)
        return pool

    def wait(self) -> None:
        """Wait for the first engine to have the model in memory.

        Raises:
            UserError: There is no such model, it does not fit, or the engine's package is missing.
        """
        loading = [actor.load.remote(self.model) for actor in self.actors]
        (first,), _ = ray.wait(loading, num_returns=1)
        result_of(first)

    @property
    def feed_size(self) -> int:
        """Return how many rows a feeding function should bring at once to keep all engines busy."""
        return 2 * (self.threads + 1) * self.batch_size * len(self.actors)

    def feed_sizes(self) -> Iterator[int]:
        """Yield how many rows to bring next: few at first, so that the work begins soon."""
        size = min(self.feed_size, _FIRST_BATCHES * self.batch_size * len(self.actors))
        while True:
            yield size
            size = min(self.feed_size, 2 * size)

    def using(self, model: ModelRef) -> Pool:
        """Return the same engines with another model, which they load at their next batch."""
        return replace(self, model=model)

    def reporting_to(self, on_progress: OnProgress) -> Pool:
        """Return the same engines; `on_progress` is called every second while they answer."""
        return replace(self, on_progress=on_progress)

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> list[Completion]:
        """Answer all requests; the order of the answers is that of the requests."""
        answers: dict[int, Completion] = {}
        report = self.on_progress

        def on_progress(num_ended: int, status: str) -> None:
            if report is not None:
                report(len(answers) + num_ended, status)

        calls = self._generate_calls(requests, sampling)
        for numbered in self._dispatcher(no_saved_answers, on_progress).run(calls):
            answers.update(numbered)
        return [answers[number] for number in range(len(answers))]

    def stream(
        self,
        requests: Iterable[Request],
        sampling: Sampling,
        saved_answers: SavedAnswers = no_saved_answers,
    ) -> Iterator[list[Completion]]:
        """Answer all requests in any order; yield answers as they come, and keep none.

        The requests are consumed `feed_sizes` at a time, while the engines still have work.
        """
        dispatcher = self._dispatcher(saved_answers, self.on_progress)
        for numbered in dispatcher.run(self._generate_calls(requests, sampling)):
            yield [completion for _, completion in numbered]

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the log-probabilities of texts without context, in their order."""
        return self._score("score", token_ids, [len(tokens) for tokens in token_ids])

    def score_texts(self, rows: Sequence[Continuation]) -> list[np.ndarray]:
        """Return the log-probabilities of texts, each behind its prompt, in their order."""
        lengths = [len(row.text) + len(str(row.prompt or "")) for row in rows]
        return self._score("score_texts", rows, lengths)

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """Return what the model makes of prompts, in their order."""
        return self._score("embed", prompts, [len(str(prompt)) for prompt in prompts])

    def _score(self, method: str, rows: Sequence[Any], lengths: Sequence[int]) -> list[Any]:
        batches = self._batches(lengths)
        calls = (Call(batch, method, [rows[i] for i in batch]) for batch in batches)
        scores: dict[int, Any] = {}
        for numbered in self._dispatcher(no_saved_answers, self.on_progress).run(calls):
            scores.update(numbered)
        return [scores[number] for number in range(len(rows))]

    def kill_and_wait(self, longest: float) -> bool:
        """End the actors at once; return whether all have ended within some seconds."""
        for actor in self.actors:
            ray.kill(actor)
        end = time.monotonic() + longest
        return all(_has_ended(actor, end) for actor in self.actors)

    def close(self) -> None:
        """End the actors and free what they hold."""
        for actor in self.actors:
            ray.kill(actor)
        for group in self.groups:
            remove_placement_group(group)

    def _dispatcher(
        self, saved_answers: SavedAnswers, on_progress: OnProgress | None
    ) -> Dispatcher:
        # One batch waits at each engine, beside those that it works on.
        most_rows = (self.threads + 1) * self.batch_size
        return Dispatcher(self.actors, self.model, most_rows, saved_answers, on_progress)

    def _generate_calls(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Call]:
        numbered, sizes = enumerate(requests), self.feed_sizes()
        while window := list(itertools.islice(numbered, next(sizes))):
            for places in self._batches([len(str(request.prompt)) for _, request in window]):
                numbers, batch = zip(*(window[i] for i in places), strict=True)
                yield Call(numbers, "generate", batch, (sampling,))

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group row numbers into batches of like length, for little padding; the longest first.

        No batch is larger than an engine's share of the rows, so that no engine stands idle.
        """
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        size = min(self.batch_size, max(1, math.ceil(len(order) / len(self.actors))))
        return [order[start : start + size] for start in range(0, len(order), size)]


def _has_ended(actor: Any, until: float) -> bool:
    """Return whether a killed actor ends before a time of the monotonic clock."""
    while (left := until - time.monotonic()) > 0:
        try:
            ray.get(actor.report.remote(False), timeout=left)
        except GetTimeoutError:
            return False
        except RayActorError:
            return True
        time.sleep(0.01)
    return False


def options_for_bundle(bundle: Mapping[str, float]) -> dict[str, Any]:
    """Return Ray's options for an actor that takes one bundle."""
    amounts = dict(bundle)
    cpus, gpus = amounts.pop("CPU", 0.0), amounts.pop("GPU", 0.0)
    # DEFAULT: on any node. Else a Ray Tune trial would keep the actor in its placement group.
    options = {"num_cpus": cpus, "num_gpus": gpus, "resources": amounts}
    return {**options, "scheduling_strategy": "DEFAULT"}


def _variables(config: EngineConfig, bundle: Mapping[str, float], bundles: int) -> dict[str, str]:
    """Return the environment of an engine."""
    variables = environment() if config.kind == "vllm" else {}
    variables |= variables_for_bundle(bundle, bundles)
    return variables | (CHILDREN_SEE_GPUS if bundles > 1 else {})


def variables_for_bundle(bundle: Mapping[str, float], bundles: int = 1) -> dict[str, str]:
    """Return the environment of a process that computes with what it reserves."""
    variables = {"OMP_NUM_THREADS": str(max(1, int(bundle.get("CPU", 0.0) * bundles)))}
    if bundle.get("GPU", 0.0) <= 0:
        variables["CUDA_VISIBLE_DEVICES"] = ""  # a process that reserves no GPU sees none
    return variables


def _options_for_group(group: PlacementGroup) -> dict[str, Any]:
    """Return Ray's options for an actor whose child actors take the bundles of a group.

    vLLM finds the group and puts a worker on each bundle.
    """
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    return {"num_cpus": 0, "scheduling_strategy": strategy}
