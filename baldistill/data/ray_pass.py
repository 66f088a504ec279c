"""A pass: one light Ray Data task for each unit or part, its results streamed to the driver.

Each pass is a single operator with one CPU a task, so it makes progress when one CPU is free, and
nothing but reports and small tables flows through the object store: rows go from storage to
storage within a task. That is what keeps memory flat from a laptop to a hundred nodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import ray
import ray.data


class Advancing(Protocol):
    """Progress of one pass."""

    def advance(self, count: int = 1) -> None:
        """Some more units or parts are done."""
        ...


Track: TypeAlias = Callable[[str, int], AbstractContextManager[Advancing]]
"""Shows the progress of a pass, by title and number of tasks."""


class _Untracked:
    def advance(self, count: int = 1) -> None:
        """Shows nothing."""


def untracked(title: str, total: int) -> AbstractContextManager[Advancing]:
    """For callers that show no progress."""
    return nullcontext(_Untracked())


def run_pass(
    task: Callable[[int], Iterable[pa.Table]], num_tasks: int, title: str, track: Track
) -> Iterator[pa.Table]:
    """Run `task(i)` for i < num_tasks on the cluster; yield the tables as they come.

    Args:
        task: Gives tables of one schema. Pickled: large values belong into a `ray.ObjectRef`.
        num_tasks: How many.
        title: What the pass does.
        track: Shows its progress; a task that gives several tables counts as several.
    """
    if num_tasks == 0:
        return
    tables = _dataset(task, num_tasks).iter_batches(batch_size=None, batch_format="pyarrow")
    with track(title, num_tasks) as progress:
        for table in tables:
            progress.advance()
            yield table


def pass_refs(
    task: Callable[[int], Iterable[pa.Table]], num_tasks: int
) -> list[ray.ObjectRef[pa.Table]]:
    """The same, but the tables stay in the object store, in no certain order."""
    return list(_dataset(task, num_tasks).to_arrow_refs())


def _dataset(task: Callable[[int], Iterable[pa.Table]], num_tasks: int) -> ray.data.Dataset:
    def run(batch: pa.Table) -> Iterator[pa.Table]:
        for number in batch["task"].to_pylist():
            yield from task(number)
        # workers live on: what Arrow keeps in reserve would pile up from task to task
        pa.default_memory_pool().release_unused()

    items = [{"task": number} for number in range(num_tasks)]
    tasks = ray.data.from_items(items, override_num_blocks=num_tasks)
    return tasks.map_batches(run, batch_size=1, batch_format="pyarrow")


def as_row(report: Any) -> pa.Table:
    """A dataclass of JSON values as a table of one row, to send it through a pass."""
    return pa.table({"report": [json.dumps(asdict(report))]})


def reports_of(tables: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    """The values of reports that `as_row` made tables of."""
    for table in tables:
        for text in table["report"].to_pylist():
            yield json.loads(text)
