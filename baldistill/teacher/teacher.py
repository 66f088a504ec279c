"""The teacher: this package's only way to call a paid model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from baldistill.answers.store import ResponseStore
from baldistill.config.engines import SamplingConfig
from baldistill.config.teachers import TierConfig
from baldistill.core.ledger import Reject
from baldistill.generation.pool import Pool, result_of
from baldistill.generation.types import Sampling
from baldistill.teacher.prompts import PromptSet
from baldistill.teacher.question import Answer, Question
from baldistill.teacher.session import AskSession

__all__ = ["Answer", "Question", "Teacher"]


@dataclass(frozen=True, slots=True)
class Teacher:
    """Engines behind a ledger and a response store; picklable.

    Attributes:
        pool: The engines.
        ledger: Handle of the ledger's actor (`teacher.ledger_actor`).
        store: All answers.
        config: Model, sampling and prices; its identity is part of each request id.
        prompts: The templates of its prompts.
        tier: Its place in a cascade, from 1.
    """

    pool: Pool
    ledger: Any
    store: ResponseStore
    config: TierConfig
    prompts: PromptSet
    tier: int = 1

    def sampling(self, chosen: SamplingConfig, temperature: float | None = None) -> Sampling:
        """Return the sampling that an option chooses, or at a given temperature instead."""
        if temperature is None:
            temperature = chosen.temperature
        return Sampling(chosen.max_new_tokens, temperature, chosen.top_p)

    def ask(
        self,
        questions: Iterable[Question],
        sampling: Sampling,
        *,
        stage: int,
        on_answers: Callable[[int], None] | None = None,
    ) -> list[Answer]:
        """Return the answers in the order of the questions; an answer in the store costs nothing.

        Under a token or money cap, less than one call's bound stays unused. A failed call that may
        have been charged is made again as a further call on the ledger. When the engines stop, the
        calls that they have not made are given back to the ledger. The questions are read lazily,
        and `on_answers` gets the number of answers that have come since its last call.

        Raises:
            UserError: Answers are missing from the store, or the engines cannot work.
        """
        return AskSession(self, questions, sampling, stage, on_answers).run()

    def reject(self, reasons: Mapping[str, str]) -> None:
        """Tell the ledger which answers became no example, and why (by request id)."""
        if reasons:
            rejections = [Reject(name, reason) for name, reason in reasons.items()]
            result_of(self.ledger.reject.remote(rejections))
