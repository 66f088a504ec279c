"""What workers tell the driver while they work: how much is done, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray

from baldistill.errors import UserError


class Counter:
    """Counts what workers did, and keeps the first error that a user can mend.

    Run as a Ray actor: Ray Data wraps what a function raises into an error of its own, which
    loses the original on its way to the driver.
    """

    def __init__(self) -> None:
        """Start at 0."""
        self.reset()

    def reset(self) -> None:
        """Start again at 0."""
        self._value = 0
        self._note: str | None = None
        self._total: int | None = None
        self._failure: UserError | None = None

    def add(self, count: int) -> None:
        """Some more are done."""
        self._value += count

    def tell(self, done: int, note: str, total: int) -> None:
        """So many are done, of `total`; `note` is shown behind the figures."""
        self._value, self._note, self._total = done, note, total

    def standing(self) -> tuple[int, str | None, int | None]:
        """How many are done, and what was told beside it: the arguments of `Task.update`."""
        return self._value, self._note, self._total

    def fail(self, error: UserError) -> None:
        """Something went wrong that the user can mend."""
        self._failure = self._failure or error

    def failure(self) -> UserError | None:
        """The first such error."""
        return self._failure


def start_counter() -> Any:
    """Start a `Counter` actor. Should its node die it counts from 0 again: progress only."""
    remote = ray.remote(Counter).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return remote.remote()


def counted(work: Callable[[pa.Table], pa.Table], counter: Any) -> Callable[[pa.Table], pa.Table]:
    """A function for `map_batches` that tells the counter what it did."""

    def run(batch: pa.Table) -> pa.Table:
        try:
            result = work(batch)
        except UserError as error:
            ray.get(counter.fail.remote(error))
            raise
        ray.get(counter.add.remote(len(batch)))
        return result

    return run
