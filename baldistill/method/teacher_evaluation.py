"""The teacher's own answers to the evaluation set, which say how far a student is from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from baldistill.core.metrics import Metrics
from baldistill.equality import NOT_COMPARED
from baldistill.method.context import Context
from baldistill.method.evaluate import figures_of
from baldistill.method.judgement import count_left_out, judge_responses, judged_by
from baldistill.records import RESPONSES, Example
from baldistill.run_folder import layout
from baldistill.run_folder.caps import CAPS
from baldistill.run_folder.steps import Chain
from baldistill.student.answer import mark, with_columns
from baldistill.teacher.solving import Solved, solve


@dataclass(frozen=True, slots=True)
class TeacherFigures:
    """The teacher's own figures on the evaluation set.

    Attributes:
        metrics: Its figures, as a student's; None where it answered nothing.
        left_out: Questions without an answer, by reason. They count neither as right nor as wrong.
    """

    metrics: Metrics | None
    left_out: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        figures = self.metrics.to_dict() if self.metrics is not None else {}
        return figures | {"left_out": self.left_out}

    def describe(self) -> str:
        """Describe in one line how many questions were answered."""
        figures = self.metrics.per_domain.values() if self.metrics is not None else ()
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        return (
            f"the teacher answered {sum(f.count for f in figures):,} questions of the evaluation "
            "set by itself" + (f"; left out: {reasons}" if reasons else "")
        )


def evaluate_teacher(context: Context, chain: Chain) -> TeacherFigures:
    """Let the teacher answer the evaluation set, once, behind the last stage.

    So a cap of the budget is spent on examples first. Nothing depends on these answers.

    Args:
        context: The run.
        chain: Stands behind the corpus.
    """
    config = context.config
    options: dict[str, Any] = {
        "teacher": [teacher.signature() for teacher in config.teacher.tiers],
        "tasks": [config.data.task, config.data.domain_tasks],
        "evaluation": config.evaluation.model_dump(
            mode="json", include={"head_mass", *({"metrics"} if config.evaluation.metrics else ())}
        ),
        "caps": config.budget.model_dump(mode="json", include=set(CAPS)),
    }
    if "judged" in config.tasks:
        options |= judged_by(config)
    result = chain.branch(chain.folder).step(
        layout.TEACHER_STEP,
        options,
        lambda: _evaluate(context),
        TeacherFigures,
        writes=[layout.TEACHER_RESPONSES, layout.TEACHER_METRICS],
    )
    context.display.say(result.describe())
    return result


def _evaluate(context: Context) -> TeacherFigures:
    """Ask, mark and count; writes the marked answers and the figures."""
    storage = context.storage
    table = storage.read_table(layout.EVALUATION)
    table = table.sort_by([("domain", "ascending"), ("example_id", "ascending")])
    examples = Example.from_table(table)
    with context.display.task("ask the teacher the evaluation set", len(examples)) as task:
        solved = solve(
            examples, context.teachers(task.report), context.config, "evaluation", task.advance
        )
    left_out = Counter(one.left_out for one in solved if one.left_out is not None)
    responses, unjudged = judge_responses(context, 0, _marked(context, table, solved))
    left_out.update(count_left_out(unjudged))
    storage.write_table(layout.TEACHER_RESPONSES, responses)
    metrics = figures_of(context, responses) if len(responses) else None
    result = TeacherFigures(metrics, dict(sorted(left_out.items())))
    storage.write_json(layout.TEACHER_METRICS, result.to_dict())
    return result


def _marked(context: Context, table: pa.Table, solved: list[Solved]) -> pa.Table:
    """Return the answers as those of a student (`records.RESPONSES`), without those left out."""
    answered = [number for number, one in enumerate(solved) if one.left_out is None]
    table, solved = (
        table.take(pa.array(answered, pa.int64())),
        [solved[number] for number in answered],
    )
    scores = [
        mark(row, one.conclusion, context.config)
        for row, one in zip(table.to_pylist(), solved, strict=True)
    ]
    columns = {
        "response": [one.answer.text for one in solved],
        "prediction": [one.conclusion for one in solved],
        "score": np.array([score or 0.0 for score in scores], dtype=np.float64),
        "num_tokens": np.zeros(len(solved), dtype=np.int32),  # the ledger has them
        "error": [NOT_COMPARED if score is None else None for score in scores],
    }
    return with_columns(table, columns, RESPONSES)
