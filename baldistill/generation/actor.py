"""One engine in its own process, as a Ray actor."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from baldistill.config.engines import EngineConfig
from baldistill.generation.dispatcher import from_bytes, to_bytes
from baldistill.generation.engine import Embedder, Engine, OnEnded, RemoteModel, TextScorer
from baldistill.generation.factory import build_engine
from baldistill.generation.types import ModelRef, Sampling
from baldistill.generation.watch import Report
from baldistill.processes import ProcessId, without_collector
from baldistill.run_folder.lock import Hold
from baldistill.storage import Storage

_LOOK_S = 0.05  # seconds between two looks for the driver; a look takes 20 microseconds


class EngineActor:
    """One engine in its own process. Rows come and go as bytes (`dispatcher.to_bytes`)."""

    def __init__(
        self,
        config: EngineConfig,
        driver: ProcessId | None = None,
        answers: Storage | None = None,
        hold: Hold | None = None,
    ) -> None:
        """Remember what to build; the first call builds the engine and gets the errors.

        This process ends with `driver`. For `answers` and `hold` see `build_engine`.
        """
        if driver is not None:
            threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
        self._config = config
        self._answers = answers
        self._hold = hold
        self._changed = threading.Condition()
        self._num_calls = 0
        self._engine: Engine | None = None
        self._model: ModelRef | None = None
        self._status = ""
        self._ended: dict[str, int] = {}

    # No retries by Ray: when an engine dies, the dispatcher gives its rows to another engine.
    @ray.method(max_task_retries=0)  # type: ignore[untyped-decorator]
    def generate(self, model: ModelRef, requests: bytes, sampling: Sampling) -> bytes:
        """Answer with the given model, loading it first if another is in memory."""
        with self._using(model) as engine, self._counting() as on_ended:
            return to_bytes(engine.generate(from_bytes(requests), sampling, on_ended))

    @ray.method(max_task_retries=0)  # type: ignore[untyped-decorator]
    def score(self, model: ModelRef, token_ids: bytes) -> bytes:
        """Score with the given model, loading it first if another is in memory."""
        with self._using(model) as engine:
            return to_bytes(engine.score(from_bytes(token_ids)))

    @ray.method(max_task_retries=0)  # type: ignore[untyped-decorator]
    def score_texts(self, model: ModelRef, rows: bytes) -> bytes:
        """Score texts with the given model, loading it first if another is in memory."""
        with self._using(model) as engine:
            assert isinstance(engine, TextScorer)  # as every engine of a student
            return to_bytes(engine.score_texts(from_bytes(rows)))

    @ray.method(max_task_retries=0)  # type: ignore[untyped-decorator]
    def embed(self, model: ModelRef, prompts: bytes) -> bytes:
        """Embed prompts with the given model, loading it first if another is in memory."""
        with self._using(model) as engine:
            assert isinstance(engine, Embedder)  # the config refuses others
            return to_bytes(engine.embed(from_bytes(prompts)))

    def load(self, model: ModelRef) -> None:
        """Load a model ahead of the first batch of a piece of work."""
        with self._using(model) as engine:
            if isinstance(engine, RemoteModel):
                engine.resume()

    @ray.method(concurrency_group="reports")  # type: ignore[untyped-decorator]
    def report(self, with_notice: bool) -> Report:
        """Say what the engine is doing, also while all its other threads are at work."""
        notice = ""
        if with_notice and isinstance(self._engine, RemoteModel):
            notice = self._engine.notice()
        return Report(self._status, dict(self._ended), notice)

    @contextmanager
    def _using(self, model: ModelRef) -> Iterator[Engine]:
        """Yield the engine with a model; swap models when no thread uses the model before."""
        with self._changed:
            while model != self._model and self._num_calls > 0:
                self._changed.wait()
            try:
                if self._engine is None:
                    with without_collector():  # the first load imports much, too
                        self._status = "starting the engine"
                        self._engine = build_engine(self._config, self._answers, self._hold)
                        self._load(self._engine, model)
                elif model != self._model:
                    self._load(self._engine, model)
            finally:
                self._status = ""
            self._num_calls += 1
            engine = self._engine
        try:
            yield engine
        finally:
            with self._changed:
                self._num_calls -= 1
                self._changed.notify_all()

    def _load(self, engine: Engine, model: ModelRef) -> None:
        self._status = "loading the model"
        self._model = None  # a load that fails leaves no model
        engine.load(model)
        self._model = model

    @contextmanager
    def _counting(self) -> Iterator[OnEnded]:
        """Yield a function that counts the ended rows of this call, until the call returns."""
        call = ray.get_runtime_context().get_task_id()
        self._ended[call] = 0

        def on_ended(number: int) -> None:
            self._ended[call] += number

        try:
            yield on_ended
        finally:
            del self._ended[call]


def _end_with(driver: ProcessId) -> None:
    """End this process when the driver has ended, however the driver ended.

    Ray would end this process later. Until then an engine would make calls whose answers nobody
    keeps.
    """
    while not driver.is_gone():
        time.sleep(_LOOK_S)
    os._exit(1)
