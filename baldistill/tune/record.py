"""The record of a sweep: one JSON file for each trial, and the trial's run folder beside it.

A sweep resumes from the record alone: it makes the same trials again, and each trial goes on in its
run folder. Ray Tune also writes its state (pickles), which nobody reads.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from baldistill.config.loading import read_mapping, validate
from baldistill.core.ledger import Caps
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.spending import replay, reused_from_other_runs
from baldistill.run_folder.steps import is_committed
from baldistill.storage import Storage

Standing: TypeAlias = Literal["running", "done", "stopped", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """The record of a trial.

    Attributes:
        name: `t001` and so on, in the order of the search.
        point: What the search picked.
        values: The dotted config keys that the point sets.
        cap: The trial's `budget.calls`, if the sweep had a cap when the trial first started.
        standing: `running` also where the sweep was killed; `stopped`: early, as too weak;
            `skipped`: not started, because the trial could have broken the sweep's cap.
        reason: Why the trial was stopped, failed or skipped.
        seconds: How long the trial ran; a start that was killed does not count.
        stages: The last stage that the trial had evaluated when it ended.
    """

    name: str
    point: dict[str, Any]
    values: dict[str, Any]
    cap: int | None = None
    standing: Standing = "running"
    reason: str = ""
    seconds: float = 0.0
    stages: int = 0

    @property
    def is_final(self) -> bool:
        """Return whether a resumed sweep leaves the trial as it is; it tries a failed one again."""
        return self.standing in ("done", "stopped")


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls that a trial paid for, and answers that another trial had paid for."""

    calls: int
    reused: int


def trial_name(number: int) -> str:
    """Return the name of a trial; numbers begin at 1."""
    return f"t{number:03d}"


def run_folder(folder: Storage, name: str) -> Storage:
    """Return the folder that a trial runs in."""
    return folder.sub(layout.trial_run(name))


def write_record(folder: Storage, record: TrialRecord) -> None:
    """Write the record of a trial, durably."""
    folder.write_json(layout.trial_record(record.name), asdict(record))


def read_records(folder: Storage) -> dict[str, TrialRecord]:
    """Read the records of all trials, by name, in their order."""
    names = [name for name in folder.list(layout.RECORDS) if name.endswith(".json")]
    values = [folder.read_json(f"{layout.RECORDS}/{name}") for name in names]
    return {value["name"]: _as_left(folder, TrialRecord(**value)) for value in values}


def read_record(folder: Storage, name: str) -> TrialRecord:
    """Read the record of a trial."""
    return _as_left(folder, TrialRecord(**folder.read_json(layout.trial_record(name))))


def _as_left(folder: Storage, record: TrialRecord) -> TrialRecord:
    """Return the record, or one of a trial that must go on: a repair has given up its results."""
    if record.is_final:
        results = stage_results(folder, record.name)
        if not results or results[-1][0] < record.stages:
            return replace(record, standing="running", reason="")
    return record


def has_started(folder: Storage, name: str) -> bool:
    """Tell whether an earlier start wrote a config, which the trial must go on with."""
    return run_folder(folder, name).exists(layout.CONFIG)


def stage_results(folder: Storage, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return number and metrics of the stages that a trial has evaluated, in their order."""
    run = run_folder(folder, name)
    results = []
    for stage in itertools.count(0):
        step = StageLayout(stage).step("metrics")
        if is_committed(run, step):
            results.append((stage, run.read_json(layout.marker(step))["figures"]))
        elif stage > 0:  # stage 0, the base student, is evaluated only where nothing is trained
            break
    return results


def spent_by(folder: Storage, name: str) -> Spent:
    """Read a trial's calls from its ledger; a call that a crash left open counts as paid."""
    if not has_started(folder, name):
        return Spent(calls=0, reused=0)
    run = run_folder(folder, name)
    config = validate(read_mapping(run.read_text(layout.CONFIG), run.uri_of(layout.CONFIG)), name)
    summary = replay(run, Caps()).summary().to_dict()
    reused = reused_from_other_runs(summary, config.models_asked)
    return Spent(calls=int(summary["total"]["calls"]), reused=reused)
