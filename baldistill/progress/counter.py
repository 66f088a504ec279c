"""Let workers report to the driver while they work: how much is done, and what went wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pyarrow as pa
import ray

from baldistill.errors import UserError

Report: TypeAlias = Callable[[int, str], None]
"""Told how many rows of a batch have ended, and what is done before the first of them ends."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A snapshot of a `Counter`.

    Attributes:
        done: How many are done.
        note: Shown behind the figures; None leaves what is shown.
        total: How many there are to do; None leaves what is shown.
        status: What the workers are doing, such as loading a model; empty while they count.
    """

    done: int = 0
    note: str | None = None
    total: int | None = None
    status: str = ""


class Counter:
    """Counts what workers did, and keeps the first error that a user can mend.

    It runs as a Ray actor. Ray Data wraps an error that a function raises into an error of its
    own, and the original is lost on its way to the driver; the counter keeps the original.
    """

    def __init__(self) -> None:
        """Start at 0."""
        self.reset()

    def reset(self) -> None:
        """Start again at 0."""
        self._figures = Figures()
        self._under_way: dict[str, int] = {}
        self._failure: UserError | None = None

    def add(self, count: int, batch: str) -> None:
        """Count a batch that has ended; this replaces what `report` counted of the batch."""
        self._under_way.pop(batch, None)
        self._figures = replace(self._figures, done=self._figures.done + count)

    def report(self, batch: str, num_ended: int, status: str) -> None:
        """Count the ended rows of a batch under way."""
        self._under_way[batch] = num_ended
        self._figures = replace(self._figures, status=status)

    def show(self, figures: Figures) -> None:
        """Replace all figures."""
        self._figures = figures

    def figures(self, finished: bool = False) -> Figures:
        """Return the figures; those of finished work leave out batches that never ended.

        A worker that died leaves the count of its batch behind, and another worker counts the
        batch again.
        """
        under_way = 0 if finished else sum(self._under_way.values())
        return replace(self._figures, done=self._figures.done + under_way)

    def fail(self, error: UserError) -> None:
        """Keep an error, if it is the first."""
        self._failure = self._failure or error

    def failure(self) -> UserError | None:
        """Return the first error."""
        return self._failure


def start_counter() -> Any:
    """Start a `Counter` actor. If its node dies it counts from 0 again: it shows progress only."""
    remote = ray.remote(Counter).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return remote.remote()


def counted(
    work: Callable[[pa.Table, Report], pa.Table], counter: Any
) -> Callable[[pa.Table], pa.Table]:
    """Make a function for `map_batches` that reports to the counter, a `Counter` actor."""

    def run(batch: pa.Table) -> pa.Table:
        name = uuid.uuid4().hex

        def report(num_ended: int, status: str) -> None:
            counter.report.remote(name, min(num_ended, len(batch)), status)

        try:
            result = work(batch, report)
        except UserError as error:
            ray.get(counter.fail.remote(error))
            raise
        ray.get(counter.add.remote(len(batch), name))
        return result

    return run
