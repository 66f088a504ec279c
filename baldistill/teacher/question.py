"""What a teacher is asked, what comes of it, and how much it can cost at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from baldistill.core.ledger import Purpose
from baldistill.generation.types import Prompt, Sampling, Subject

_TEMPLATE_TOKENS = 512  # what a chat template may add: roles, dates, a system text of its own

Standing: TypeAlias = Literal["answered", "rejected", "refused"]


@dataclass(frozen=True, slots=True)
class Question:
    """A teacher call that is wanted.

    Attributes:
        prompt: What to ask.
        purpose: For the ledger.
        domain: For the ledger.
        units: 1 when the answer is to become one of the B annotated examples, else 0.
        attempt: Tells apart calls that are otherwise the same.
        subject: The example it is about; no part of the call's identity.
    """

    prompt: Prompt
    purpose: Purpose
    domain: str
    units: int = 1
    attempt: int = 0
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it.

    Attributes:
        request_id: Identity of the call.
        standing: `answered`; `rejected` (found unfit before a resume, or the call failed);
            `refused`.
        text: What it says, without the thoughts of a model that thinks aloud; empty when refused
            or failed.
        detail: The reason of the rejection, or the cap that refused.
        failure: What exactly went wrong, when the call failed.
        cut: It was not at its end at `max_new_tokens`.
    """

    request_id: str
    standing: Standing
    text: str = ""
    detail: str | None = None
    failure: str = ""
    cut: bool = False

    def because(self, reason: str) -> str:
        """A reason to reject it, with what may explain it."""
        return f"{reason}, cut at max_new_tokens" if self.cut else reason


def prompt_bound(prompt: Prompt, sampling: Sampling) -> int:
    """At most so many tokens a prompt has, without its tokenizer: one for each byte of UTF-8.

    Byte-level tokenizers, and those that fall back to bytes, never make more. A server's
    tokenizer is not at hand, and the bound is held only while the call is under way: a real
    count would let a few more calls run side by side near a cap, and change nothing else.
    """
    texts = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    texts.append(sampling.json_schema or "")  # some servers show the model the schema
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + _TEMPLATE_TOKENS
