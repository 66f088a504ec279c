"""Types that every generation engine takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from baldistill.storage import Storage

_TEMPLATE_TOKENS = 512  # what a chat template may add: roles, dates, a system text of its own


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


Prompt: TypeAlias = str | tuple[Message, ...]
"""Plain text to continue, or a chat to answer."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Options with which a model samples its texts.

    Attributes:
        max_new_tokens: Longest response.
        temperature: 0 is greedy.
        top_p: Nucleus sampling.
        json_schema: A schema, as JSON text, that the answer must follow where the engine can.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    json_schema: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The example that a prompt is about, for an engine that looks up recorded answers.

    Attributes:
        example_id: As in the corpus: the user's own id where `data.columns.id` names one.
        question: As in the corpus.
        attempt: How often the example was asked about before.
        recorded: The recorded answer itself, where the caller has it: of a new example.
        needed: Whether a recording without this example is a mistake of the user's.
    """

    example_id: str
    question: str
    attempt: int = 0
    recorded: str | None = None
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt.

    Attributes:
        request_id: Identifies the call.
        prompt: What to answer.
        seed: Decides a sampled answer, with any neighbours in the batch.
        subject: What the prompt is about; read by the replay engine alone.
        failures: How many earlier calls for this prompt failed, and may have been charged.
        call: Name of this call on the ledger; empty if no engine notes that it sends the call.
    """

    request_id: str
    prompt: Prompt
    seed: int = 0
    subject: Subject | None = None
    failures: int = 0
    call: str = ""


@dataclass(frozen=True, slots=True)
class Continuation:
    """A text that is scored as it is, behind a prompt or without one."""

    text: str
    prompt: Prompt | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """A model's hidden states and next-token probabilities for a prompt.

    Attributes:
        mean: Mean last hidden state, float32; shape [hidden].
        last: Last hidden state of the last token, float32; shape [hidden].
        probabilities: Of the next token, float32; of a large vocabulary, tokens share columns.
        likeliest: The column of the likeliest token.
    """

    mean: npt.NDArray[np.float32]
    last: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    likeliest: int


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A reference to a model: a name (hub id, path or URI), or a folder in a run's storage."""

    name: str
    storage: Storage | None = None

    def resolve(self) -> str:
        """Return a hub id, or a path on this machine, for `from_pretrained`."""
        if self.storage is not None:
            return str(self.storage.local_dir(self.name))
        if self.name in ("bundled-teacher", "bundled-student"):
            bundled = Path(__file__).resolve().parent.parent / "bundled"
            return str(bundled / self.name.removeprefix("bundled-"))
        if "://" in self.name:
            return str(Storage.open(self.name).local_dir(""))
        return self.name


def plain_text(prompt: Prompt) -> str:
    """Return a prompt as plain text, as for a model without a chat template.

    The turns are joined by blank lines, with a newline at the end. Where the assistant has spoken
    before, the text says who speaks.
    """
    if isinstance(prompt, str):
        return prompt
    texts = [turn.content for turn in prompt]
    if any(turn.role == "assistant" for turn in prompt):
        texts = [f"{turn.role.capitalize()}: {turn.content}" for turn in prompt] + ["Assistant:"]
    return "\n\n".join(texts) + "\n"


def max_prompt_tokens(prompt: Prompt, sampling: Sampling) -> int:
    """Return the most tokens that a prompt can have: one for each byte of its UTF-8.

    Byte-level tokenizers, and those that fall back to bytes, never make more. A server's
    tokenizer is not available. The bound is held only while the call is under way. A real count
    would let a few more calls run side by side near a cap, and change nothing else.
    """
    texts = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    texts.append(sampling.json_schema or "")  # some servers show the model the schema
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + _TEMPLATE_TOKENS
