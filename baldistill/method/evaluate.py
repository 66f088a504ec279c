"""Evaluation: the student answers the evaluation set; its figure per domain, macro and micro."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from rich.table import Table

from baldistill.config import Config
from baldistill.core.label_metrics import metrics_of_responses
from baldistill.core.longtail import by_size, head_domains
from baldistill.core.metrics import Metrics, against_teacher, without_figures
from baldistill.core.own_metrics import own_metrics
from baldistill.core.own_parts import OwnPartError
from baldistill.data.corpus import read_corpus
from baldistill.equality import NOT_COMPARED
from baldistill.errors import ConfigError
from baldistill.method.context import Context
from baldistill.method.evaluation_answers import evaluation_part
from baldistill.method.judgement import count_left_out, judge_responses
from baldistill.method.select import WAITING_CPUS
from baldistill.progress.counter import Report, counted
from baldistill.records import EXAMPLES, RESPONSES, as_rows_of
from baldistill.run_folder import layout
from baldistill.run_folder.caps import CAPS
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import Chain
from baldistill.student.answer import examine
from baldistill.terminal import make_table

_CAPS = "caps"
"""In a stage's `metrics.json`, where answers are left out: the caps that refused their verdicts."""
_TITLES = {
    "accuracy": "accuracy",
    "f1": "F1 of the labels",
    "word_f1": "word F1",
    "judged": "share that the judge accepts",
    "mixed": "accuracy, F1 or word F1",
}


def evaluate_once(
    context: Context, stage: int, chain: Chain, options: Mapping[str, Any]
) -> Metrics:
    """Evaluate the student of a stage as the chain's next step.

    Nothing is made from an evaluation. So one in which a cap refused verdicts is completed in its
    place when the caps are others, and the steps behind it stay.
    """
    storage, names = context.storage, StageLayout(stage)
    earlier: list[pa.Table] = []

    def is_to_be_completed(metrics: Metrics) -> bool:
        if not metrics.left_out or storage.read_json(names.metrics)[_CAPS] == _caps(context):
            return False
        parts = [storage.read_table(name) for name in (names.responses, names.unjudged)]
        earlier.append(pa.concat_tables(parts).drop_columns("verdict"))
        return True

    metrics = chain.step(
        "metrics",
        options,
        lambda: evaluate(context, stage, *earlier),
        Metrics,
        (*names.evaluation, *([names.unjudged] if "judged" in context.config.tasks else [])),
        again=is_to_be_completed,
    )
    if metrics.left_out:
        context.display.say(f"  warning: {told_left_out(metrics.left_out)}")
    return metrics


def evaluate(context: Context, stage: int, responses: pa.Table | None = None) -> Metrics:
    """Examine the student of a stage; writes its answers, marked, and the figures.

    The evaluation set is at most `evaluation_max_per_domain` questions a domain, so its
    responses fit in one table whatever the size of the corpus.

    Args:
        context: The run.
        stage: Whose student.
        responses: Its answers, where only verdicts are missing.
    """
    config, storage, names = context.config, context.storage, StageLayout(stage)
    if responses is None:
        part = evaluation_part(context)
        total = len(storage.read_table(part, ["example_id"]))
        examples = read_corpus(storage, part)
        responses = answers_of(context, stage, examples, title="evaluate", total=total)
    order = [("domain", "ascending"), ("example_id", "ascending")]
    responses, unjudged = judge_responses(context, stage, responses.sort_by(order))
    storage.write_table(names.responses, responses)
    if "judged" in config.tasks:
        storage.write_table(names.unjudged, unjudged)
    left_out = count_left_out(unjudged)
    metrics = replace(figures_of(context, responses), left_out=left_out)
    figures = metrics.to_dict() | whose_answers(config)
    if left_out:
        figures[_CAPS] = _caps(context)
    storage.write_json(names.metrics, figures)
    return metrics


def told_left_out(left_out: Mapping[str, int]) -> str:
    """Say how many answers count in no figure, why, and what to do about it."""
    reasons = ", ".join(f"{count:,} ({reason})" for reason, count in left_out.items())
    return (
        f"answers left out of the figures: {reasons}: raise the cap and run the same folder again, "
        "so that these are judged, too; nothing is paid twice"
    )


def _caps(context: Context) -> dict[str, Any]:
    return context.config.budget.model_dump(mode="json", include=set(CAPS))


def figures_of(context: Context, responses: pa.Table) -> Metrics:
    """Return the figures of marked responses, with those of users' own metrics.

    Raises:
        ConfigError: A metric of a user's fails.
    """
    config = context.config
    if not len(responses):
        return without_figures("judged")
    head = head_domains(context.corpus.counts, config.evaluation.head_mass)
    metrics = metrics_of_responses(
        responses,
        config.task_of,
        context.student_prompts.labels.own,
        counts=context.corpus.counts,
        head=head,
    )
    wanted = config.evaluation.metrics
    try:
        return replace(metrics, own=own_metrics(wanted, metrics, context.corpus.counts))
    except OwnPartError as error:
        raise ConfigError(f"evaluation.metrics: {error}") from error


def whose_answers(config: Config) -> dict[str, str]:
    """Return what the figures of an evaluation say about its answers: nothing of gold ones."""
    return {"gold": "teacher"} if config.evaluation.gold == "teacher" else {}


def num_not_compared(context: Context, stage: int) -> int:
    """Return how many answers of a stage's evaluation took too long to compare."""
    name = StageLayout(stage).responses
    errors = context.storage.read_table(name, columns=["error"])["error"]
    return int(pc.sum(pc.equal(errors, NOT_COMPARED)).as_py() or 0)


def answers_of(
    context: Context, stage: int, examples: ray.data.Dataset, *, title: str, total: int
) -> pa.Table:
    """Return a stage student's marked answers, sorted by domain and id (records.RESPONSES)."""
    pool = context.engines.student(context.student(stage))
    config, counter = context.config, context.counter
    prompts, sampling = context.student_prompts, context.response

    def answer(batch: pa.Table, report: Report) -> pa.Table:
        return examine(
            as_rows_of(EXAMPLES, batch), pool.reporting_to(report), prompts, sampling, config
        )

    with context.display.remote_task(title, total, counter):
        parts = examples.map_batches(
            counted(answer, counter),
            batch_format="pyarrow",
            batch_size=pool.feed_size,
            num_cpus=WAITING_CPUS,
        )
        tables = [
            as_rows_of(RESPONSES, part) for part in ray.get(parts.to_arrow_refs()) if len(part)
        ]
    return pa.concat_tables(tables).sort_by([("domain", "ascending"), ("example_id", "ascending")])


def accuracy_table(
    counts: dict[str, int], stages: dict[str, dict[str, Any]], *, by_teacher: bool = False
) -> Table:
    """Return a table of each domain's figure, largest domain first, then METRIC_NAMES.

    Each stage is a column with the title that its metrics have in `stages`.
    """
    measures = {str(metrics["metric"]) for metrics in stages.values()}
    title = _TITLES[measures.pop()] if len(measures) == 1 else _TITLES["mixed"]
    title = against_teacher(title) if by_teacher else title
    rows = []
    for domain in by_size(counts):
        cells = [_cell(m["per_domain"].get(domain, {}).get("score")) for m in stages.values()]
        rows.append([domain, f"{counts[domain]:,}", *cells])
    summary = [
        [
            layout.METRIC_TITLES.get(name, name),
            "",
            *(_cell(metrics.get(name)) for metrics in stages.values()),
        ]
        for name in layout.METRIC_NAMES
    ]
    summary += [
        [name, "", *(_cell(metrics.get("own", {}).get(name)) for metrics in stages.values())]
        for name in list(stages.values())[-1].get("own", {})
    ]
    columns = ["domain", "examples", *stages]
    return make_table(f"{title} on the evaluation set", columns, rows, summary)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
