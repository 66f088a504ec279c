"""The interface of an engine, and the errors that say that it cannot go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from baldistill.answers.completion import Completion
from baldistill.errors import UserError
from baldistill.generation.types import (
    Continuation,
    Embedding,
    ModelRef,
    Prompt,
    Request,
    Sampling,
)

OnEnded: TypeAlias = Callable[[int], None]
"""Called by an engine, from any thread, with the number of rows that have just ended."""


def ignore_ended(_: int) -> None:
    """Serve as `OnEnded` where nobody shows progress."""


class EngineDiedError(RuntimeError):
    """The engine is broken: its process must be restarted, and its rows answered again."""


class EngineStoppedError(UserError):
    """The engine cannot go on until the user mends something.

    Attributes:
        answered: For each request of the batch, its answer, which may have been paid for; None if
            there was no answer yet.
        charged: Whether the requests without an answer may be charged for, too.
    """

    def __init__(
        self, message: str, answered: Sequence[Completion | None], charged: bool = False
    ) -> None:
        super().__init__(message)
        self.answered, self.charged = tuple(answered), charged

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes, too: exceptions pickle their message alone."""
        return EngineStoppedError, (str(self), self.answered, self.charged)


class WorkStoppedError(UserError):
    """A pool's work ended because an engine stopped, or because engines died too often.

    Attributes:
        charged: The rows without an answer that may be charged for. All other rows without an
            answer were not sent, or were refused.
    """

    def __init__(self, message: str, charged: Sequence[Any]) -> None:
        super().__init__(message)
        self.charged = tuple(charged)


class Engine(Protocol):
    """A model that writes and scores. One instance lives in one process."""

    def load(self, model: ModelRef) -> None:
        """Load a model's weights and tokenizer in place of the model before."""
        ...

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> Sequence[Completion | None]:
        """Answer requests, in their order.

        An engine may return None for a request that is still under way. The engine goes on with
        that request, and returns the answer to whoever calls with the same request again.
        The engine calls `on_ended` for rows that end before the call does. An engine whose calls
        are short need not call it.
        """
        ...

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each token's log-probability of texts without context, float32, shape [T] each."""
        ...


@runtime_checkable
class TextScorer(Protocol):
    """An engine that scores texts which it did not write: those that can run a student."""

    def score_texts(self, rows: Sequence[Continuation]) -> list[np.ndarray]:
        """Return each token's log-probability of texts, float32, shape [T] each.

        With and without a prompt, a text has the same tokens.
        """
        ...


@runtime_checkable
class Embedder(Protocol):
    """An engine that shows the hidden states of its model."""

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """Return what the model makes of each prompt."""
        ...


@runtime_checkable
class RemoteModel(Protocol):
    """An engine that asks a server. Once it has raised `EngineStoppedError`, it refuses calls."""

    def resume(self) -> None:
        """Accept calls again: the user may have mended what stopped the engine."""
        ...

    def notice(self) -> str:
        """Return news for the user, such as why no row is answered; empty if there are none."""
        ...
