"""Turn an annotated example into prompts, and what the student learns to write to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baldistill.generation.types import Prompt
from baldistill.student.encode import Lesson
from baldistill.teacher.parsing import target_text
from baldistill.teacher.prompts import PromptSet, Purpose


def lesson_of(
    row: Mapping[str, Any], prompts: PromptSet, target: str, weight: float = 1.0
) -> Lesson:
    """Return what an annotated row teaches; with `both`, its rationale is the explanation.

    Args:
        row: Of `records.ANNOTATED`.
        prompts: Of a student with this target (`PromptSet.for_target`).
        target: `student.target`.
        weight: Of the row in the loss.
    """

    def asked(purpose: Purpose) -> Prompt:
        return prompts.render(
            purpose, question=row["question"], domain=row["domain"], context=row.get("context")
        )

    rationale, answer = row["rationale"], row["answer"]
    if target != "both":
        return Lesson(asked("student"), target_text(rationale, answer), weight=weight)
    explanation = (asked("explain"), rationale) if rationale else None
    return Lesson(asked("student"), target_text(None, answer), explanation, weight)
