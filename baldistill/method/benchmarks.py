"""Public benchmarks before and after the distillation: what the student forgot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from rich.table import Table

from baldistill.core.benchmarks import (
    BenchmarkChange,
    BenchmarkFigure,
    Scores,
    benchmark_changes,
)
from baldistill.generation.dispatcher import result_of
from baldistill.method.context import Context
from baldistill.progress.counter import Figures
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import Chain
from baldistill.student.benchmarks import absolute, asked_benchmarks, require_lm_eval
from baldistill.terminal import make_table


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """A student's figures on the benchmarks of the config.

    Attributes:
        figures: Of each task.
        lm_eval: Version of lm-eval.
    """

    figures: tuple[BenchmarkFigure, ...]
    lm_eval: str


def ask_benchmarks(context: Context, stage: int, chain: Chain) -> Benchmarks | None:
    """Let the student of a stage answer the benchmarks of the config, once; None without any.

    Nothing is made from them, so they are a branch of the chain.

    Args:
        context: The run.
        stage: Whose student; 0 is the base student's.
        chain: Stands behind the student's training, and for the base student before any step.
    """
    evaluation = context.config.evaluation
    if not evaluation.benchmarks:
        return None
    names = StageLayout(stage)
    options: dict[str, Any] = {
        "tasks": asked_benchmarks(evaluation.benchmarks),
        "lm_eval": evaluation.lm_eval.model_dump(mode="json", exclude={"batch_size"}),
    }
    if stage == 0:
        options["student"] = context.config.student.model
    return chain.branch(names.folder).step(
        "benchmarks",
        options,
        lambda: _ask(context, stage),
        Benchmarks,
        writes=[names.benchmarks, names.benchmark_scores],
    )


def _ask(context: Context, stage: int) -> Benchmarks:
    """Ask in a process that takes the place of one of the student's engines."""
    config, storage, names = context.config, context.storage, StageLayout(stage)
    options = context.engines.lend_student()
    remote = ray.remote(max_calls=1)(_examine).options(**options)  # its memory is freed at once
    title = "benchmarks of the base student" if stage == 0 else "benchmarks of the last student"
    with context.display.remote_task(title, 0, context.counter):
        examined = result_of(
            remote.remote(
                context.student(stage),
                [absolute(name) for name in config.evaluation.benchmarks],
                config.evaluation.lm_eval,
                context.engines.placement.student_engine.dtype,
                partial(_report, context.counter),
            )
        )
    storage.write_json(names.benchmarks, examined.results)
    storage.write_table(names.benchmark_scores, examined.scores)
    return Benchmarks(examined.figures, examined.version)


def _report(counter: Any, figures: Figures) -> None:
    ray.get(counter.show.remote(figures))


def _examine(*arguments: Any) -> Any:
    """Run lm-eval, which is imported where a student is, and not in the driver."""
    require_lm_eval()
    from baldistill.student.harness import examine_benchmarks

    return examine_benchmarks(*arguments)


def forgotten(context: Context, stage: int, before: Benchmarks, chain: Chain) -> dict[str, Any]:
    """Ask the last student, show it beside the base student, and return what `metrics.json` holds.

    Args:
        context: The run.
        stage: The last that trained a student; 0 if none did.
        before: Figures of the base student.
        chain: Stands behind that stage's training.
    """
    after = ask_benchmarks(context, stage, chain) if stage else None
    changes = benchmark_changes(before.figures, (), {}, {})
    versions = [before.lm_eval]
    if after is not None:
        changes = benchmark_changes(
            before.figures, after.figures, _scores(context, 0), _scores(context, stage)
        )
        versions += [after.lm_eval] * (after.lm_eval != before.lm_eval)
    context.display.show(benchmark_table(changes))
    if len(versions) > 1:
        context.display.say(
            f"  warning: lm-eval was {versions[0]} before and is {versions[1]} now: a task may "
            "have changed"
        )
    return {"lm_eval": " and ".join(versions), "changes": [change.to_dict() for change in changes]}


def _scores(context: Context, stage: int) -> Scores:
    table = context.storage.read_table(StageLayout(stage).benchmark_scores)
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for row in table.to_pylist():
        scores.setdefault((row["task"], row["metric"]), {})[row["example"]] = row["score"]
    return scores


def benchmark_table(changes: Sequence[BenchmarkChange]) -> Table:
    """Return a table to print."""
    rows = [
        [
            change.task,
            change.metric,
            change.verdict or "",
            f"{change.num_examples:,}",
            _figure(change.before),
            _figure(change.after),
            _figure(change.difference, "+") + _error(change.difference_stderr),
        ]
        for change in changes
    ]
    columns = ["benchmark", "metric", "verdict", "examples", "before", "after", "change ± stderr"]
    return make_table("what was forgotten", columns, rows, [], words=3)


def _figure(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _error(value: float | None) -> str:
    return "" if value is None else f" ± {value:.3f}"
