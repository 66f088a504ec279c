"""Encode training examples as tokens, with the loss on the response only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.errors import DataError
from baldistill.generation.encoding import (
    encode_prompt,
    encode_text,
    start_tokens,
    truncate_left,
)
from baldistill.generation.types import Prompt

IGNORED = -100  # the label that PyTorch's cross entropy leaves out
EXPLAINED = "explained"
"""Key of an example's second row, where it teaches an answer and, apart from it, its rationale."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The prompts and targets that one example teaches.

    Attributes:
        prompt: What the student is asked.
        target: What it learns to write.
        explanation: A second prompt and target, which are learnt apart from the first.
        weight: Factor of the example in the loss.
    """

    prompt: Prompt
    target: str
    explanation: tuple[Prompt, str] | None = None
    weight: float = 1.0

    @property
    def pairs(self) -> list[tuple[Prompt, str]]:
        """Return prompt and target, then those of the explanation if there is one."""
        first = (self.prompt, self.target)
        return [first] if self.explanation is None else [first, self.explanation]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The examples that the student trains on.

    Attributes:
        rows: `input_ids` and `labels` (prompt masked) of each example, the same of its explanation
            as `explained` where it has some, and its `weight` in the loss where that is not 1.
        truncated: Examples that lost tokens to `max_length`.
        dropped: Examples left out because no token of their target was left.
    """

    rows: list[dict[str, Any]]
    truncated: int
    dropped: int


def encode_examples(lessons: Sequence[Lesson], tokenizer: Any, max_length: int) -> Encoded:
    """Encode prompt + target + end-of-sequence, and the explanation of each example alike.

    A target that is too long loses its end, and with it the end-of-sequence token. A prompt that
    does not fit beside its target loses its beginning, but never all of it.

    Raises:
        DataError: Nothing is left to train on. (The loss would be NaN, or 0 without a warning.)
    """
    start, rows, truncated = start_tokens(tokenizer), [], 0
    for lesson in lessons:
        row, cut = _encoded(lesson.prompt, lesson.target, tokenizer, max_length, start)
        if row and lesson.explanation is not None:
            second, also_cut = _encoded(*lesson.explanation, tokenizer, max_length, start)
            row |= {EXPLAINED: second} if second else {}
            cut |= also_cut
        if row and lesson.weight != 1.0:
            row["weight"] = lesson.weight
        truncated += cut
        if row:
            rows.append(row)
    if not rows:
        raise DataError(
            f"none of {len(lessons)} training examples has a target token within "
            f"student.max_length={max_length}: raise it, or look at annotated.parquet"
        )
    return Encoded(rows, truncated, len(lessons) - len(rows))


def _encoded(
    prompt: Prompt, target: str, tokenizer: Any, max_length: int, start: list[int]
) -> tuple[dict[str, Any], bool]:
    """Return a row, empty where no target token is left, and whether something was cut."""
    before, after = encode_prompt(tokenizer, prompt), encode_text(tokenizer, target)
    if tokenizer.eos_token_id is not None:
        after.append(int(tokenizer.eos_token_id))
    room = max(max_length - len(after), min(len(before), max_length // 4))
    context = truncate_left(before, room, start)
    labels = after[: max_length - len(context)]
    cut = len(context) < len(before) or len(labels) < len(after)
    if not labels:
        return {}, cut
    return {"input_ids": context + labels, "labels": [IGNORED] * len(context) + labels}, cut
