"""One answer of a model, as an engine returns it and as the response store keeps it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from baldistill.records import STORED

MOST_TOKENS = 2**31 - 1  # that the response store can hold
_LETTERS_PER_TOKEN = 4  # a guess, where no server has counted
_FINISHED = ("stop", "length")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of a model.

    The response store keeps the fields of `records.STORED`. What a caller of `Teacher.ask` gets is
    another type (`teacher.question.Answer`), because a question that a cap of the budget refused,
    or whose answer was rejected before a resume, has no completion.

    Attributes:
        request_id: Identity of the request.
        text: What the model wrote, without special tokens.
        token_ids: Tokens of the text without the end-of-sequence token, shape [T]. Empty where a
            server or the response store gave the text.
        logprobs: Log-probability of each token under the model at temperature 1, float32, shape
            [T]. Engines of teachers leave it empty: it costs time, and nobody reads it.
        prompt_tokens: Tokens of the prompt after truncation.
        finish_reason: `stop` (the model ended), `length` (cut at max_new_tokens) or `error`.
        truncated: The prompt was too long and lost its beginning.
        error: Why there is no answer, as `a few fixed words: details`; None for an answer.
        billed_tokens: Tokens written, as a server counted them; None means those of `token_ids`.
        retriable: The call failed, although it may have been charged; another call may succeed.
        segment: Segment of the response store that holds the answer; None if none does yet.
        odd_usage: The server's token counts, as text, if they are impossible; else empty.
    """

    request_id: str
    text: str
    token_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32), compare=False)
    logprobs: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32), compare=False)
    prompt_tokens: int = 0
    finish_reason: str = "stop"
    truncated: bool = False
    error: str | None = None
    billed_tokens: int | None = None
    retriable: bool = False
    segment: str | None = None
    odd_usage: str = ""

    @property
    def completion_tokens(self) -> int:
        """Return the number of tokens written, which the ledger counts."""
        return len(self.token_ids) if self.billed_tokens is None else self.billed_tokens

    @classmethod
    def failed(cls, request_id: str, error: str, *, retriable: bool = False) -> Completion:
        """Return the completion of a request that got no answer."""
        return cls(request_id, "", finish_reason="error", error=error, retriable=retriable)

    def to_row(self) -> dict[str, Any]:
        """Return the row of `records.STORED` that the response store keeps."""
        return {name: getattr(self, name) for name in STORED.names}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], segment: str) -> Completion:
        """Return the completion that a row of a segment holds.

        A token count that is none, as earlier versions let servers write, becomes an estimate.

        Raises:
            ValueError: The row holds no answer.
        """
        name, text, finish = row.get("request_id"), row.get("text"), row.get("finish_reason")
        if not isinstance(name, str) or not isinstance(text, str) or finish not in _FINISHED:
            raise ValueError("no answer in it")
        text = encodable(text)
        written = whole_number(row.get("completion_tokens"))
        return cls(
            name,
            text,
            prompt_tokens=whole_number(row.get("prompt_tokens")) or 0,
            finish_reason=finish,
            billed_tokens=estimated_tokens(text) if written is None else written,
            segment=segment,
        )


def whole_number(value: Any, most: int = MOST_TOKENS) -> int | None:
    """Return a value from outside as a whole number from 0 to `most`; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if 0 <= value <= min(most, MOST_TOKENS) else None


def estimated_tokens(text: str) -> int:
    """Estimate the tokens of a text that nobody has counted."""
    return 1 + len(text.encode("utf-8", "surrogatepass")) // _LETTERS_PER_TOKEN


def encodable(text: str) -> str:
    """Return a text that can be written as UTF-8: without halves of surrogate pairs."""
    return _SURROGATES.sub("\ufffd", text)
