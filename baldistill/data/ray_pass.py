"""Run a pass: one light Ray Data task for each unit or part, with results streamed to the driver.

Each pass is a single operator with one CPU a task, so one free CPU is enough for progress. Rows go
from storage to storage within a task, and only reports and small tables flow through the object
store. So memory stays flat from a laptop to a hundred nodes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias, TypeVar

import pyarrow as pa
import ray
import ray.data

Report = TypeVar("Report")


class Advancing(Protocol):
    """Progress of one pass."""

    def advance(self, count: int = 1) -> None:
        """Count more units or parts as done."""
        ...


Track: TypeAlias = Callable[[str, int], AbstractContextManager[Advancing]]
"""Shows the progress of a pass, by title and number of tasks."""


class _Untracked:
    def advance(self, count: int = 1) -> None:
        """Show nothing."""


def untracked(title: str, total: int) -> AbstractContextManager[Advancing]:
    """Show no progress."""
    return nullcontext(_Untracked())


def run_tasks(
    task: Callable[[int], Iterable[Report]], num_tasks: int, title: str, track: Track
) -> Iterator[Report]:
    """Run `task(i)` for i < num_tasks on the cluster; yield the reports as they come.

    Tasks give small values. `task` itself is pickled: put large values into a `ray.ObjectRef`.
    """
    if num_tasks == 0:
        return

    def tables(number: int) -> Iterator[pa.Table]:
        for report in task(number):
            yield pa.table({"report": [pickle.dumps(report)]})

    batches = _dataset(tables, num_tasks).iter_batches(batch_size=None, batch_format="pyarrow")
    with track(title, num_tasks) as progress:
        for batch in batches:
            progress.advance()
            for data in batch["report"].to_pylist():
                yield pickle.loads(data)


def run_tasks_as_refs(
    task: Callable[[int], Iterable[pa.Table]], num_tasks: int
) -> list[ray.ObjectRef[pa.Table]]:
    """Run `task(i)` for i < num_tasks; leave the tables in the object store, in any order."""
    return list(_dataset(task, num_tasks).to_arrow_refs())


def _dataset(task: Callable[[int], Iterable[pa.Table]], num_tasks: int) -> ray.data.Dataset:
    def run(batch: pa.Table) -> Iterator[pa.Table]:
        for number in batch["task"].to_pylist():
            yield from task(number)
        # the worker process lives on, and Arrow's unused memory would grow from task to task
        pa.default_memory_pool().release_unused()

    items = [{"task": number} for number in range(num_tasks)]
    tasks = ray.data.from_items(items, override_num_blocks=num_tasks)
    return tasks.map_batches(run, batch_size=1, batch_format="pyarrow")
