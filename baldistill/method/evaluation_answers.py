"""Answers to an evaluation set that has no gold ones: the teacher's majority stands in for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

from baldistill.core.majority import quorum
from baldistill.errors import DataError, UserError
from baldistill.method.context import Context
from baldistill.records import AnnotatedExample, Example, RejectedAnswer
from baldistill.run_folder import layout
from baldistill.run_folder.steps import Chain
from baldistill.teacher.rationale import answer_by_majority


@dataclass(frozen=True, slots=True)
class EvaluationAnswers:
    """Counts of evaluation questions: those that the teacher answered, and those left out.

    Attributes:
        counts: Questions with a majority, by domain.
        rejected: Questions without one, by reason: nobody is marked on them.
    """

    counts: dict[str, int]
    rejected: dict[str, int]

    def describe(self, votes: int) -> str:
        """Describe them in one line."""
        rejected = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.items())
        return (
            f"evaluation set: {sum(self.counts.values()):,} questions answered by the teacher, "
            f"{quorum(votes)} of {votes} votes alike" + (f"; left out: {rejected}" * bool(rejected))
        )


def evaluation_part(context: Context) -> str:
    """Return the folder of the evaluation set, with the answers that the student is marked on."""
    by_teacher = context.config.evaluation.gold == "teacher"
    return layout.EVALUATION_ANSWERS if by_teacher else layout.EVALUATION


def answer_evaluation_set(context: Context, chain: Chain) -> None:
    """Let the teachers answer the evaluation set, once, where it is to be marked against them.

    No stage depends on these answers, so that they are a branch of the chain.
    """
    config = context.config
    if config.evaluation.gold != "teacher":
        return
    options: dict[str, Any] = {
        "teacher": [teacher.signature() for teacher in config.teacher.tiers],
        "rationale": config.rationale.model_dump(mode="json"),
        "tasks": [config.data.task, config.data.domain_tasks],
        "target": config.student.target,
    }
    answers = chain.branch(chain.folder).step(
        layout.EVALUATION_ANSWERS_STEP,
        options,
        lambda: _answer(context),
        EvaluationAnswers,
        writes=[layout.EVALUATION_ANSWERS, layout.EVALUATION_REJECTED],
    )
    context.display.say(answers.describe(config.rationale.votes))


def _answer(context: Context) -> EvaluationAnswers:
    """Ask the teachers; write the questions with their answers, and those without a majority.

    Raises:
        UserError: A cap refused a call; or no question has a majority.
    """
    storage = context.storage
    examples = Example.from_table(storage.read_table(layout.EVALUATION))
    examples.sort(key=lambda row: (row.domain, row.example_id))
    with context.display.task("answer the evaluation set", len(examples)) as task:
        result = answer_by_majority(
            examples, context.teachers(task.report), context.config, on_answers=task.advance
        )
    if result.refused:
        cap = next(iter(result.refused.values()))
        raise UserError(
            f"the cap on {cap} is reached before the teacher has answered the evaluation set "
            f"(evaluation.gold=teacher): raise budget.{cap}, or set a smaller "
            "data.evaluation_max_per_domain. Answers that came are not paid again in this folder"
        )
    if not result.annotated:
        raise DataError(
            "the teacher reached a majority on none of the questions of the evaluation set, so "
            "that there is nothing to mark the student on: give data.evaluation with gold answers "
            f"(data.columns.evaluation_answer), or look at {layout.EVALUATION_REJECTED}"
        )
    rows = [_example(row) for row in result.annotated]
    storage.delete(layout.EVALUATION_ANSWERS)
    storage.write_table(f"{layout.EVALUATION_ANSWERS}/rows.parquet", Example.to_table(rows))
    last = [row for row in result.rejected if row.example_id in result.dropped]
    storage.write_table(layout.EVALUATION_REJECTED, RejectedAnswer.to_table(last))
    reasons = {row.example_id: row.reason for row in last}  # a cascade rejects once a teacher
    return EvaluationAnswers(
        counts=dict(sorted(Counter(row.domain for row in rows).items())),
        rejected=dict(sorted(Counter(reasons.values()).items())),
    )


def _example(row: AnnotatedExample) -> Example:
    return Example(**{field.name: getattr(row, field.name) for field in fields(Example)})
