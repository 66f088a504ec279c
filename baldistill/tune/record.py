"""The record of a sweep: one JSON file for each trial, and the trial's run folder beside it.

The record is what a sweep resumes from. Ray Tune's own state (pickles) is written by Ray and never
read by us: a resumed sweep makes the same trials again from the record, and each trial's run folder
knows what it has done.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from baldistill.config.loading import read_mapping, validate
from baldistill.core.ledger import Caps, Ledger
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import read_log
from baldistill.teacher.shared import from_other_runs

Standing: TypeAlias = Literal["running", "done", "stopped", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial.

    Attributes:
        name: `t001`, in the order of the search.
        point: What the search picked.
        values: The dotted config keys that it sets.
        cap: Its `budget.calls` where the sweep had a cap of its own when it first started.
        standing: `running` also where the sweep was killed; `stopped`: early, as too weak;
            `skipped`: not started, it could have broken the sweep's cap.
        reason: Why it was stopped, failed or skipped.
        seconds: How long it ran, all starts together, as far as they ended.
    """

    name: str
    point: dict[str, Any]
    values: dict[str, Any]
    cap: int | None = None
    standing: Standing = "running"
    reason: str = ""
    seconds: float = 0.0

    @property
    def is_final(self) -> bool:
        """Whether a resumed sweep leaves it as it is; a failed one is tried again."""
        return self.standing in ("done", "stopped")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a trial asked of the teacher.

    Attributes:
        calls: Paid.
        reused: Answers that another trial had paid for.
    """

    calls: int
    reused: int


def trial_name(number: int) -> str:
    """The name of a trial, from 1."""
    return f"t{number:03d}"


def run_folder(folder: Storage, name: str) -> Storage:
    """Where a trial runs: an ordinary run folder."""
    return folder.sub(layout.trial_run(name))


def write_record(folder: Storage, record: TrialRecord) -> None:
    """Keep a trial's record, durably."""
    folder.write_json(layout.trial_record(record.name), asdict(record))


def read_records(folder: Storage) -> dict[str, TrialRecord]:
    """All trials of a sweep, by name, in their order."""
    names = [name for name in folder.list(layout.RECORDS) if name.endswith(".json")]
    values = [folder.read_json(f"{layout.RECORDS}/{name}") for name in names]
    return {value["name"]: TrialRecord(**value) for value in values}


def read_record(folder: Storage, name: str) -> TrialRecord:
    """One of them."""
    return TrialRecord(**folder.read_json(layout.trial_record(name)))


def has_started(folder: Storage, name: str) -> bool:
    """Whether its run folder holds the config of an earlier start, which it must go on with."""
    return run_folder(folder, name).exists(layout.CONFIG)


def stage_results(folder: Storage, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Number and metrics of the stages that a trial has evaluated, in their order."""
    run = run_folder(folder, name)
    results = []
    for stage in itertools.count(0):
        marker = layout.marker(StageLayout(stage).step("metrics"))
        if run.exists(marker):
            results.append((stage, run.read_json(marker)["figures"]))
        elif stage > 0:  # the base student of stage 0 is examined only where nothing is trained
            break
    return results


def spent_by(folder: Storage, name: str) -> Spent:
    """What a trial's ledger says; a call that a crash left open counts as paid."""
    if not has_started(folder, name):
        return Spent(calls=0, reused=0)
    run = run_folder(folder, name)
    config = validate(read_mapping(run.read_text(layout.CONFIG), run.uri_of(layout.CONFIG)), name)
    _, entries = read_log(run.sub(layout.LEDGER))
    summary = Ledger.replay(Caps(), entries).summary().to_dict()
    reused = from_other_runs(summary, config.teacher.tiers)
    return Spent(calls=int(summary["total"]["calls"]), reused=reused)
