"""What an engine can do, and how it says that it cannot go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from baldistill.answers.completion import Completion
from baldistill.errors import UserError
from baldistill.generation.model_ref import ModelRef
from baldistill.generation.types import Request, Sampling


class EngineDiedError(RuntimeError):
    """An engine cannot go on; its process is to be started anew, its rows are to be done again."""


class EngineStoppedError(UserError):
    """The engine cannot go on until the user mends something.

    Attributes:
        answered: For each request of the batch what was answered before, and may have been paid
            for; None where nothing was.
        charged: Whether those without an answer may be charged for, too.
    """

    def __init__(
        self, message: str, answered: Sequence[Completion | None], charged: bool = False
    ) -> None:
        super().__init__(message)
        self.answered, self.charged = tuple(answered), charged

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes with what was answered."""
        return EngineStoppedError, (str(self), self.answered, self.charged)


class WorkStoppedError(UserError):
    """A pool's work ended because an engine stopped, or died too often.

    Attributes:
        charged: Rows without an answer that may be charged for: all others were not sent, or
            refused.
    """

    def __init__(self, message: str, charged: Sequence[Any]) -> None:
        super().__init__(message)
        self.charged = tuple(charged)


class Engine(Protocol):
    """A model that writes and scores. One instance lives in one process."""

    def load(self, model: ModelRef) -> None:
        """Load (or swap to) a model's weights and tokenizer."""
        ...

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> Sequence[Completion | None]:
        """Answer requests, in their order.

        None stands for one that is still under way: it goes on, and its answer is given to whoever
        calls with the same request again.
        """
        ...

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probability of each token of texts without any context, float32, shape [T] each."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """An engine that stays stopped, whoever calls, once it has raised `EngineStoppedError`."""

    def begin(self) -> None:
        """A new piece of work begins: what stopped the one before may be mended."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """An engine that has something to say while it waits."""

    def notice(self) -> str:
        """What holds it up; empty if nothing does."""
        ...
