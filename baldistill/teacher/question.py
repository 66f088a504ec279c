"""Questions to a teacher, their identity, and their answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from baldistill.core.ledger import Purpose
from baldistill.generation.types import Prompt, Sampling, Subject
from baldistill.records import RejectedAnswer, digest
from baldistill.teacher.parsing import NO_THOUGHTS, Thoughts

Outcome: TypeAlias = Literal["answered", "rejected", "refused"]

UNCHECKED = "a cap refused its check"
"""Reason for an answer neither accepted nor rejected: with a higher cap its check is made."""
RETRY_TEMPERATURE = 0.7  # asking a greedy teacher again would give the same answer


@dataclass(frozen=True, slots=True)
class Question:
    """A teacher call that is wanted.

    Attributes:
        purpose, domain: For the ledger.
        units: 1 if the answer is to become one of the B annotated examples, else 0.
        attempt: Distinguishes calls that are otherwise the same.
        subject: The example that the question is about; no part of the request id.
    """

    prompt: Prompt
    purpose: Purpose
    domain: str
    units: int = 1
    attempt: int = 0
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a question.

    Attributes:
        request_id: Identity of the call.
        outcome: `answered`; `rejected` (judged unfit before a resume, or the call failed);
            `refused` by a cap of the budget.
        text: The answer without the thoughts of a model that thinks aloud; empty if there is none.
        reason: Why it was rejected, or the cap that refused.
        failure: The error in full, if the call failed.
        cut: The answer had not ended at `max_new_tokens`.
        thoughts: What such a model thought, for `rationale.keep: thoughts`.
    """

    request_id: str
    outcome: Outcome
    text: str = ""
    reason: str | None = None
    failure: str = ""
    cut: bool = False
    thoughts: Thoughts = NO_THOUGHTS

    def because(self, reason: str) -> str:
        """Return a reason to reject this answer, with the cut that may explain it."""
        return f"{reason}, cut at max_new_tokens" if self.cut else reason

    def as_rejected(
        self, purpose: Purpose, domain: str, reason: str, example_id: str | None = None
    ) -> RejectedAnswer:
        """Return the row of `rejected.parquet` for this answer."""
        return RejectedAnswer(
            request_id=self.request_id,
            purpose=purpose,
            domain=domain,
            example_id=example_id,
            reason=reason,
            text=self.text or self.failure,
        )


def request_id_of(question: Question, identity: tuple[str, str], sampling: Sampling) -> str:
    """Return the identity of a call; a call of the same identity is never paid for twice.

    The identity covers all that decides the answer, with engine and model of the teacher.
    """
    engine, model = identity
    prompt: object = question.prompt
    if not isinstance(question.prompt, str):
        prompt = [[turn.role, turn.content] for turn in question.prompt]
    return digest(
        {
            "engine": engine,
            "model": model,
            "prompt": prompt,
            "sampling": {k: v for k, v in asdict(sampling).items() if v is not None},
            "attempt": question.attempt,
        }
    )
