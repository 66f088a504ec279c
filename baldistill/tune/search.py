"""Hand Ray Tune the trials of a sweep one by one, and record how each ends.

Ray Tune asks the searcher for a trial whenever one may start, and passes on what trials report.
Every trial is recorded before it starts; a resumed sweep hands out the recorded trials first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ray.tune.search import Searcher

from baldistill.config import Config
from baldistill.errors import UserError
from baldistill.progress.display import Display
from baldistill.report.figures.sweep import shown
from baldistill.storage import Storage
from baldistill.tune.plan import SweepPlan, config_of
from baldistill.tune.points import PointSource
from baldistill.tune.record import (
    TrialRecord,
    has_started,
    read_records,
    spent_by,
    stage_results,
    trial_name,
    write_record,
)
from baldistill.tune.trial import failure_of, metric_of

BoundCalls: TypeAlias = Callable[[TrialRecord, Config], int]
"""Bounds the teacher calls of a trial; raises a UserError for one that cannot run."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A trial under way; `most` bounds the teacher calls of all its starts."""

    record: TrialRecord
    slot: int
    most: int
    start: float


class RecordedSearch(Searcher):  # type: ignore[misc]  # ray is untyped here
    """Hands out trials from the record, then new ones from a source of points."""

    def __init__(
        self,
        plan: SweepPlan,
        source: PointSource,
        folder: Storage,
        *,
        forecast: BoundCalls,
        slots: int,
        display: Display,
    ) -> None:
        """Read the record; hand out nothing yet. There are `slots` trials at a time."""
        super().__init__(metric="score", mode="max")
        self._plan, self._source, self._folder = plan, source, folder
        self._forecast, self._display = forecast, display
        self._records = read_records(folder)
        self._free = list(range(slots))
        self._running: dict[str, _Running] = {}
        self._spent: dict[str, int] = {}
        self._shown: set[tuple[str, int]] = set()
        self._number = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial, or None to be asked again when a running one has ended."""
        while self._number < self._plan.num_trials:
            record = self._record_of(self._number + 1)
            if record.is_final:
                most = self._calls_of(record.name)
            else:
                decision = self._admit(record)
                if decision == "later":
                    return None
                record, most = decision
                self._write(record)
            self._number += 1
            if record.standing not in ("failed", "skipped"):
                return self._start(trial_id, record, most)
            self._source.tell(record.point, None)
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Show what a trial reports."""
        self._show(self._running[trial_id].record, result)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended, and let the source learn from it."""
        running = self._running.pop(trial_id)
        self._free.append(running.slot)
        record = running.record
        if result is not None and not error:
            self._show(record, result)  # a scheduler may hide a result from `on_trial_result`
        if not record.is_final:
            seconds = record.seconds + time.monotonic() - running.start
            record = replace(_ended(record, self._folder, result, error), seconds=seconds)
            self._write(record)
        self._source.tell(record.point, self._scores(record))

    def _record_of(self, number: int) -> TrialRecord:
        name = trial_name(number)
        if name not in self._records:
            point = self._source.next(number)
            self._records[name] = TrialRecord(name, point, self._plan.values(point))
        return self._records[name]

    def _admit(self, record: TrialRecord) -> tuple[TrialRecord, int] | Literal["later"]:
        """Decide whether a trial runs, is refused, or waits until another trial ends.

        Where the sweep has a cap, the cap must have room for the most calls that the trial can
        make, so that no order of events can break it. A trial that had started goes on under the
        cap that it began with, since another cap would make it another run.

        Returns:
            The record of the trial to run or refused, and its most calls; or `later`.
        """
        try:
            config = config_of(self._plan.base, self._plan.space, record.values, record.name)
            most = self._forecast(record, config)
        except UserError as error:
            return replace(record, standing="failed", reason=str(error)), 0
        cap = self._plan.space.calls
        if has_started(self._folder, record.name):
            most = record.cap or most
        elif cap is not None:
            record = replace(record, cap=most or None)
        if cap is not None:
            held = {running.record.name: running.most for running in self._running.values()}
            spent = sum(map(self._calls_of, self._records.keys() - held.keys() - {record.name}))
            if spent + sum(held.values()) + most > cap:
                if held:
                    return "later"
                reason = (
                    f"not started: it may call the teacher {most:,} times and {cap - spent:,} of "
                    f"the sweep's {cap:,} calls are left; raise calls, or lower budget.calls"
                )
                return replace(record, standing="skipped", reason=reason), 0
        return replace(record, standing="running", reason=""), most

    def _calls_of(self, name: str) -> int:
        """Return the paid calls of a trial that is not running; read its ledger once."""
        if name not in self._spent:
            self._spent[name] = spent_by(self._folder, name).calls
        return self._spent[name]

    def _start(self, trial_id: str, record: TrialRecord, most: int) -> dict[str, Any]:
        slot = self._free.pop(0)
        self._running[trial_id] = _Running(record, slot, most, time.monotonic())
        self._spent.pop(record.name, None)
        if not record.is_final:
            values = (f"{key} = {shown(value)}" for key, value in record.values.items())
            self._say(record, "; ".join(values))
        return {"trial": record.name, "slot": slot, **record.values}

    def _scores(self, record: TrialRecord) -> list[float] | None:
        """Return the space's metrics after the trial's last stage; None for a failure."""
        if not record.is_final:
            return None
        _, metrics = stage_results(self._folder, record.name)[-1]
        return [metric_of(name, metrics) for name in self._plan.space.metric]

    def _write(self, record: TrialRecord) -> None:
        self._records[record.name] = record
        write_record(self._folder, record)
        if record.standing in ("failed", "skipped", "stopped"):
            self._say(record, f"{record.standing}: {record.reason}")

    def _show(self, record: TrialRecord, result: Mapping[str, Any]) -> None:
        key = (record.name, int(result["stage"]))
        if not record.is_final and key not in self._shown:
            self._shown.add(key)
            figures = ", ".join(f"{m} {result[m]:.3f}" for m in self._plan.space.metric)
            self._say(record, f"stage {result['stage']}: {figures}")

    def _say(self, record: TrialRecord, text: str) -> None:
        self._display.say(f"[{record.name} of {self._plan.num_trials}] {text}")

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of use: a sweep resumes from its record."""
        with open(checkpoint_path, "w") as file:
            file.write("{}")

    def __getstate__(self) -> dict[str, Any]:
        """Give Ray Tune nothing to pickle: nobody reads its pickle of the searcher."""
        return {}


def _ended(
    record: TrialRecord, folder: Storage, result: Mapping[str, Any] | None, error: bool
) -> TrialRecord:
    """Return the record of a trial that ended, with how and why."""
    if error or result is None:
        reason = failure_of(folder, record.name) or (
            f"its process died; see trials/{record.name}/log.txt for how far it came"
        )
        return replace(record, standing="failed", reason=reason)
    record = replace(record, stages=int(result["stage"]))
    if result["progress"] < 100:
        return replace(record, standing="stopped", reason=f"weak after stage {record.stages}")
    return replace(record, standing="done")
