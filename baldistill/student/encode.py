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


@dataclass(frozen=True, slots=True)
class Encoded:
    """The examples that the student trains on.

    Attributes:
        rows: `input_ids` and `labels` (prompt masked) of each example.
        truncated: Examples that lost tokens to `max_length`.
        dropped: Examples left out because no token of their target was left.
    """

    rows: list[dict[str, list[int]]]
    truncated: int
    dropped: int


def encode_examples(
    prompts: Sequence[Prompt], targets: Sequence[str], tokenizer: Any, max_length: int
) -> Encoded:
    """Encode prompt + target + end-of-sequence.

    A target that is too long loses its end, and with it the end-of-sequence token. A prompt that
    does not fit beside its target loses its beginning, but never all of it.

    Raises:
        DataError: Nothing is left to train on. (The loss would be NaN, or 0 without a warning.)
    """
    start, rows, truncated = start_tokens(tokenizer), [], 0
    for prompt, target in zip(prompts, targets, strict=True):
        before, after = encode_prompt(tokenizer, prompt), encode_text(tokenizer, target)
        if tokenizer.eos_token_id is not None:
            after.append(int(tokenizer.eos_token_id))
        room = max(max_length - len(after), min(len(before), max_length // 4))
        context = truncate_left(before, room, start)
        labels = after[: max_length - len(context)]
        truncated += len(context) < len(before) or len(labels) < len(after)
        if labels:
            ids = context + labels
            rows.append({"input_ids": ids, "labels": [IGNORED] * len(context) + labels})
    if not rows:
        raise DataError(
            f"none of {len(prompts)} training examples has a target token within "
            f"student.max_length={max_length}: raise it, or look at annotated.parquet"
        )
    return Encoded(rows, truncated, len(prompts) - len(rows))
