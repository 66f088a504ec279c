"""One answer of a model, as an engine returns it and as the response store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from baldistill.records import STORED


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

    @property
    def completion_tokens(self) -> int:
        """Tokens written, for the ledger."""
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
        """Return the completion that a row of a segment holds."""
        return cls(
            row["request_id"],
            row["text"],
            prompt_tokens=row["prompt_tokens"],
            finish_reason=row["finish_reason"],
            billed_tokens=row["completion_tokens"],
            segment=segment,
        )
