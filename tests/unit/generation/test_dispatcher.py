"""Which batches stop the work because engines die with them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from baldistill.generation.dispatcher import Call, Dispatcher
from baldistill.generation.types import ModelRef


def work_after_deaths(num_deaths: int, answered_each_time: int) -> Dispatcher:
    """Let an engine die again and again with a batch of 20 rows; some are saved each time."""

    def saved(rows: Sequence[str]) -> list[str | None]:
        return [row if place < answered_each_time else None for place, row in enumerate(rows)]

    work = Dispatcher([], ModelRef("m"), 20, saved, None)
    work._again.append(Call(range(20), "generate", [f"row {number}" for number in range(20)]))
    for _ in range(num_deaths):
        work._redo(work._again.popleft(), RuntimeError("killed"))
    return work


@pytest.mark.parametrize(("num_deaths", "stops"), [(3, False), (4, True)])
def test_a_batch_that_kills_every_engine_stops_the_work(num_deaths: int, stops: bool) -> None:
    work = work_after_deaths(num_deaths, answered_each_time=0)
    assert ("died again and again" in str(work._stop)) == stops


def test_engines_that_were_killed_after_answering_do_not_stop_it() -> None:
    work = work_after_deaths(10, answered_each_time=1)
    assert work._stop is None
    assert len(work._again[0].rows) == 10
