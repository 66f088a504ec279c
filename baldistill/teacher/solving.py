"""Questions that the teacher solves by itself: it is shown no gold answer, and none is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from baldistill.config import Config
from baldistill.core.answers import extract
from baldistill.core.ledger import Purpose
from baldistill.core.own_parts import of_example
from baldistill.generation.types import Subject
from baldistill.records import Example
from baldistill.teacher.question import Answer, Question
from baldistill.teacher.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Solved:
    """The outcome of asking teachers to solve a question.

    Attributes:
        answer: Of the last teacher that wrote anything; a refusal or a failure if none did.
        conclusion: The answer that an evaluation reads in it; None for none.
    """

    answer: Answer
    conclusion: str | None

    @property
    def left_out(self) -> str | None:
        """Return the reason for a missing answer, to be counted; None if there is an answer."""
        if self.answer.text:
            return None
        reason = str(self.answer.reason or "empty answer")
        return f"refused by the cap on {reason}" if self.answer.outcome == "refused" else reason


def solve(
    examples: Sequence[Example],
    teachers: Sequence[Teacher],
    config: Config,
    purpose: Purpose,
    on_answers: Callable[[int], None] | None = None,
) -> list[Solved]:
    """Let the teacher solve each example once; of a cascade, the next where one concludes nothing.

    No call holds a unit of the budget. All calls are on the ledger, within its caps.
    """
    found: dict[int, Solved] = {}
    pending = list(range(len(examples)))
    for number, teacher in enumerate(teachers):
        asked = [examples[at] for at in pending]
        answers = teacher.ask(
            (_question(example, teacher, purpose) for example in asked),
            teacher.sampling(teacher.config.rationale),
            stage=0,
            on_answers=None if number else on_answers,
        )
        for at, example, answer in zip(pending, asked, answers, strict=True):
            labels = example.choices or teacher.prompts.labels_of(example.domain)
            task = config.task_of(example.domain)
            with of_example(example.example_id):
                conclusion = extract(task, answer.text, labels, example.question)
            if at not in found or answer.text:
                found[at] = Solved(answer, conclusion)
        pending = [at for at in pending if found[at].conclusion is None]
        if not pending:
            break
    return [found[at] for at in range(len(examples))]


def _question(example: Example, teacher: Teacher, purpose: Purpose) -> Question:
    prompt = teacher.prompts.render(
        "solve", question=example.question, domain=example.domain, context=example.context
    )
    subject = Subject(example.example_id, example.question, needed=False)
    return Question(prompt, purpose, example.domain, units=0, subject=subject)
