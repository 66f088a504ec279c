"""What an annotated example teaches: prompts, and what the student learns to write to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baldistill.generation.types import Prompt
from baldistill.teacher.parsing import target_text
from baldistill.teacher.prompts import PromptSet, Purpose


def lessons_of(row: Mapping[str, Any], prompts: PromptSet, target: str) -> list[tuple[Prompt, str]]:
    """Return prompt and target of an annotated row; with `both`, those of its rationale, too.

    Args:
        row: Of `records.ANNOTATED`.
        prompts: Of a student with this target (`PromptSet.for_target`).
        target: `student.target`.
    """

    def asked(purpose: Purpose) -> Prompt:
        return prompts.render(
            purpose, question=row["question"], domain=row["domain"], context=row.get("context")
        )

    rationale, answer = row["rationale"], row["answer"]
    if target != "both":
        return [(asked("student"), target_text(rationale, answer))]
    lessons = [(asked("student"), target_text(None, answer))]
    return [*lessons, (asked("explain"), rationale)] if rationale else lessons
