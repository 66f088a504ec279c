"""Step a vLLM engine in one thread that many callers feed: batches do not wait for each other.

The rows of a caller join those of all other callers at the engine's next step, and a row that ends
makes room for the next row in the queue. So the engine's batch stays full, even while the longest
row of some caller is not finished.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm.exceptions import VLLMError

from baldistill.generation.engine import EngineDiedError, OnEnded, ignore_ended


@dataclass(frozen=True, slots=True)
class Job:
    """A row for the engine: a prompt as vLLM renders it, and how to write."""

    prompt: Any
    params: Any
    lora: Any = None


@dataclass(slots=True)
class _Batch:
    """The rows of one caller."""

    jobs: Sequence[Job]
    on_ended: OnEnded
    outputs: list[Any] = field(init=False)
    missing: int = field(init=False)
    done: threading.Event = field(default_factory=threading.Event)
    fault: str | None = None

    def __post_init__(self) -> None:
        self.outputs = [None] * len(self.jobs)
        self.missing = len(self.jobs)

    def settle(self, number: int, output: Any) -> None:
        self.outputs[number] = output
        self.missing -= 1
        self.on_ended(1)
        if self.missing == 0:
            self.done.set()

    def fail(self, fault: str) -> None:
        self.fault = fault
        self.done.set()


class StepLoop:
    """A `vllm.v1.engine.llm_engine.LLMEngine` in the hands of one thread."""

    def __init__(self, engine: Any) -> None:
        """Start the thread, which sleeps while there is nothing to do."""
        self._engine = engine
        self._inbox: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._waiting: dict[str, tuple[_Batch, int]] = {}
        self._names = map(str, itertools.count())
        self._thread = threading.Thread(target=self._work, name="vllm-steps", daemon=True)
        self._thread.start()

    def run(self, jobs: Sequence[Job], on_ended: OnEnded = ignore_ended) -> list[Any]:
        """Answer all jobs; from any thread. The stepping thread calls `on_ended`.

        Returns:
            vLLM's `RequestOutput` of each job; or a text that says why vLLM refused the job.

        Raises:
            EngineDiedError: A step failed; the engine cannot be used any more.
        """
        if not jobs:
            return []
        batch = _Batch(jobs, on_ended)
        self._inbox.put(batch)
        batch.done.wait()
        if batch.fault is not None:
            raise EngineDiedError(batch.fault)
        return batch.outputs

    def close(self) -> None:
        """End the thread; no job may be under way."""
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while self._admit():
                for output in self._engine.step():
                    if output.finished:
                        self._settle(output.request_id, output)
            return
        except Exception as error:  # noqa: BLE001  # callers wait and must hear of any error
            fault = f"{type(error).__name__}: {error}"
        for batch, _ in self._waiting.values():
            batch.fail(fault)
        while (late := self._inbox.get()) is not None:
            late.fail(fault)

    def _admit(self) -> bool:
        """Give the engine all new jobs; wait for some if it has none. Return False to end."""
        while not self._waiting or not self._inbox.empty():
            batch = self._inbox.get()
            if batch is None:
                return False
            for number, job in enumerate(batch.jobs):
                name = next(self._names)
                self._waiting[name] = (batch, number)
                try:
                    self._engine.add_request(name, job.prompt, job.params, lora_request=job.lora)
                except (ValueError, TypeError, VLLMError) as error:
                    self._settle(name, str(error))
        return True

    def _settle(self, name: str, output: Any) -> None:
        batch, number = self._waiting.pop(name)
        batch.settle(number, output)
