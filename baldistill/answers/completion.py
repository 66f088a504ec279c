"""What a model answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
        request_id: Of the request.
        text: What was written, special tokens left out.
        token_ids: Its tokens without the end-of-sequence token, shape [T].
        logprobs: Log-probability of each under the model at temperature 1, float32, shape [T];
            empty from engines of teachers, where they cost something and nobody reads them.
        prompt_tokens: Tokens of the prompt after truncation.
        finish_reason: `stop` (the model ended), `length` (cut at max_new_tokens) or `error`.
        truncated: The prompt did not fit and lost its beginning.
        error: Why there is no answer, as `a few fixed words: what exactly`; None where there is.
        billed_tokens: Tokens written as a server counted them; None is those of `token_ids`,
            which a server may not give.
        again: The call failed, and may have been charged; another call may be answered.
        segment: Of the response store, in which the engine has written it already.
    """

    request_id: str
    text: str
    token_ids: np.ndarray
    logprobs: np.ndarray
    prompt_tokens: int
    finish_reason: str = "stop"
    truncated: bool = False
    error: str | None = None
    billed_tokens: int | None = None
    again: bool = False
    segment: str | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens written, for the ledger."""
        return len(self.token_ids) if self.billed_tokens is None else self.billed_tokens

    @classmethod
    def told(cls, request_id: str, text: str, **facts: Any) -> Completion:
        """A completion by a server that tells no tokens."""
        nothing = np.empty(0)
        return cls(request_id, text, nothing.astype(np.int32), nothing.astype(np.float32), **facts)

    @classmethod
    def failed(cls, request_id: str, error: str, *, again: bool = False) -> Completion:
        """The completion of a request that got no answer."""
        return cls.told(
            request_id,
            "",
            prompt_tokens=0,
            finish_reason="error",
            error=error,
            again=again,
        )
