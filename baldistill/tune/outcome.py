"""What came of a sweep: the record and the run folders become tables, figures and `best.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from baldistill.config import Config
from baldistill.config.loading import dump_config
from baldistill.report.sweep import SweepTables, SweepTrial, write_tables
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.tune.configs import config_of
from baldistill.tune.plan import SweepPlan
from baldistill.tune.record import (
    TrialRecord,
    read_records,
    run_folder,
    spent_by,
    stage_results,
)
from baldistill.tune.trial import metric_of


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A finished sweep.

    Attributes:
        tables: What was written.
        best: The config of the best trial, as in `best.yaml`; None where no trial came to its end.
    """

    tables: SweepTables
    best: Config | None


def write_result(folder: Storage, plan: SweepPlan) -> SweepResult:
    """Write all that shows what came of a sweep."""
    records = read_records(folder)
    trials = [_trial(folder, plan, record) for record in records.values()]
    tables = write_tables(folder, trials, plan.space.metric)
    name = tables.data["best"]
    if name is None:
        return SweepResult(tables, None)
    best = config_of(plan.base, plan.space, records[name].values, name)
    folder.write_text(layout.BEST, dump_config(best))
    return SweepResult(replace(tables, files=[*tables.files, layout.BEST]), best)


def _trial(folder: Storage, plan: SweepPlan, record: TrialRecord) -> SweepTrial:
    history = stage_results(folder, record.name)
    run = run_folder(folder, record.name)
    marker = layout.marker(layout.CORPUS_STEP)
    has_corpus = run.exists(marker)
    spent = spent_by(folder, record.name)
    last = history[-1][1] if record.is_final else None
    scores = [metric_of(name, last) for name in plan.space.metric] if last else []
    return SweepTrial(
        name=record.name,
        values=record.values,
        standing=record.standing,
        reason=record.reason,
        stages=int(record.values.get("stages", plan.base.stages)),
        history=tuple(history),
        scores=tuple(scores),
        calls=spent.calls,
        reused=spent.reused,
        seconds=record.seconds,
        counts=run.read_json(marker)["figures"]["counts"] if has_corpus else {},
    )
