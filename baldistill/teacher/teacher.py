"""Ask the teacher: reserve, generate, store, settle. The only way to a teacher in this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from baldistill.answers.store import ResponseStore
from baldistill.config.engines import SamplingConfig
from baldistill.config.teachers import TierConfig
from baldistill.core.ledger import Reject
from baldistill.errors import UserError
from baldistill.generation.engine import WorkStoppedError
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
        ledger: Handle of the ledger's actor.
        store: All answers.
        config: Model, sampling and prices; its identity is part of each request's id.
        prompts: How it is asked.
        tier: Its place in a cascade, from 1.
    """

    pool: Pool
    ledger: Any
    store: ResponseStore
    config: TierConfig
    prompts: PromptSet
    tier: int = 1

    def sampling(self, chosen: SamplingConfig, temperature: float | None = None) -> Sampling:
        """How it is to write: as an option says, maybe at another temperature."""
        heat = chosen.temperature if temperature is None else temperature
        return Sampling(chosen.max_new_tokens, heat, chosen.top_p)

    def ask(
        self,
        questions: Iterable[Question],
        sampling: Sampling,
        *,
        stage: int,
        on_answers: Callable[[int], None] | None = None,
    ) -> list[Answer]:
        """Answer questions, in their order; a question answered before costs nothing.

        Budget is reserved window by window, a window being what the engines can hold, while
        they work on the window before: a crash leaves little more open than was in flight.
        Where a cap on tokens or money refuses a question while calls of ours are under way, it
        is asked again when they are settled: what is left in the end is less than the bound of
        any call refused. A call that failed and may be charged for is made again as a further
        call on the ledger. When the engines stop, what they did not ask is given back.

        Args:
            questions: Consumed lazily.
            sampling: How to write.
            stage: For the ledger.
            on_answers: Told how many answers came, for progress.

        Raises:
            UserError: Answers are missing from the store, or the engines cannot work.
        """
        session = AskSession(self, sampling, stage, on_answers or _ignore, iter(questions))
        try:
            while not session.done:
                answered = self.pool.stream(session.reserved(), sampling, session.kept)
                for completions in answered:
                    session.record(completions)
                session.wait()
        except WorkStoppedError as stopped:
            session.wait()
            session.release(stopped.charged)
            raise UserError(str(stopped)) from None
        finally:
            session.leave()
        return [session.answers[name] for name in session.names]

    def reject(self, reasons: Mapping[str, str]) -> None:
        """Tell the ledger which answers became no example, and why (by request id)."""
        if reasons:
            rejections = [Reject(name, reason) for name, reason in reasons.items()]
            result_of(self.ledger.reject.remote(rejections))


def _ignore(number: int) -> None:
    """For callers that show no progress."""
