"""The results of a sweep: tables, figures, `best.yaml`, and the best config on other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.commands.compare import compare
from baldistill.config import Config
from baldistill.config.loading import dump_config
from baldistill.errors import ConfigError
from baldistill.report.sweep import SweepTrial, summarise, write_tables
from baldistill.run_folder import layout
from baldistill.run_folder.reader import corpus_counts
from baldistill.storage import Storage
from baldistill.tune.plan import SweepPlan, config_of
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
        data: The content of `sweep.json`.
        files: Names of the files that were written.
        best: The config of the best trial, as in `best.yaml`; None where no trial came to its end.
    """

    data: dict[str, Any]
    files: list[str]
    best: Config | None


def write_result(folder: Storage, plan: SweepPlan) -> SweepResult:
    """Write tables, figures and `best.yaml` from the record and the run folders of a sweep."""
    records = read_records(folder)
    trials = [_trial(folder, plan, record) for record in records.values()]
    data = summarise(trials, plan.space.metric, by_teacher=plan.base.evaluation.gold == "teacher")
    files = write_tables(folder, data)
    name = data["best"]
    if name is None:
        return SweepResult(data, files, None)
    best = config_of(plan.base, plan.space, records[name].values, name)
    folder.write_text(layout.BEST, dump_config(best))
    return SweepResult(data, [*files, layout.BEST], best)


def _trial(folder: Storage, plan: SweepPlan, record: TrialRecord) -> SweepTrial:
    history = stage_results(folder, record.name)
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
        counts=corpus_counts(run_folder(folder, record.name)),
    )


def check_seeds(plan: SweepPlan, seeds: Sequence[int]) -> None:
    """Check that no trial of the sweep uses the seeds.

    Raises:
        ConfigError: A trial uses one of them, or may use it.
    """
    seen = {config.seed for config in plan.configs()}
    if "seed" in plan.space.parameters and plan.points is None:
        raise ConfigError("--validate-seeds needs to know the sweep's seeds, and seed is searched")
    for seed in seeds:
        if seed in seen:
            raise ConfigError(f"seed {seed} was used by the sweep: validate on others")


def validate_best(
    folder: Storage,
    base: Config,
    best: Config,
    seeds: Sequence[int],
    *,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare the best config with the base on other seeds; return `comparison.json`'s content.

    The folder `validation/` of the sweep gets the table, the figure and the runs.
    """
    configs = {"base": base, "best": best}

    def config_of(name: str, seed: int) -> Config:
        config = configs[name]
        evaluation = config.evaluation.model_copy(
            update={"every_stage": False, "base_student": False}
        )
        return config.model_copy(update={"evaluation": evaluation, "seed": seed})

    return compare(
        config_of,
        tuple(configs),
        seeds,
        run_dir=folder.sub(layout.VALIDATION).uri,
        parallel=1,
        verbose=verbose,
        quiet=quiet,
    )
