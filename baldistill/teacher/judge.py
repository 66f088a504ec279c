"""Judge whether an example that the teacher wrote can stand beside the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from baldistill.config import Config
from baldistill.core.answer_text import fold
from baldistill.core.answers import extract, proper_answer
from baldistill.core.label_sets import Labels
from baldistill.core.own_filter import TeacherAnswer, own_fault
from baldistill.core.own_parts import of_example
from baldistill.equality import same_answer
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.parsing import NewExample, parse_new_example


@dataclass(frozen=True, slots=True)
class Judge:
    """The demands on a new example of a domain: its task, its labels, the bounds of `data`."""

    config: Config
    labels: Labels

    def read(self, text: str, domain: str, *, cut: bool = False) -> NewExample | None:
        """Parse the teacher's text; give its answer the form of a gold answer if possible."""
        example = parse_new_example(text, cut=cut)
        proper = example and self._proper(example, domain)
        return replace(example, answer=proper) if example and proper else example

    def fault(self, example: NewExample, domain: str, existing: ExistingQuestions) -> str | None:
        """Return why an example is not accepted; None for a good one."""
        data = self.config.data
        if (
            len(example.question) > data.max_question_chars
            or len(example.answer) > data.max_answer_chars
        ):
            return "over-long"
        if self._proper(example, domain) is None:
            return "no such answer"
        if fold(self.labels.own.get(domain, example.answer)) != fold(example.answer):
            return "another label"
        return existing.fault(example.question)

    def agrees(self, example: NewExample, domain: str, text: str) -> bool | None:
        """Return whether a solution comes to the example's answer; None if that stayed open."""
        task, labels = self.config.task_of(domain), self._labels(domain)
        conclusion = extract(task, text, labels, example.question)
        return same_answer(task, conclusion, example.answer, labels, example.question)

    def filtered(self, example: NewExample, domain: str) -> str | None:
        """Return why a user's filter rejects an example; None where none does."""
        told = TeacherAnswer(
            "synthetic", domain, example.question, example.rationale, example.answer
        )
        with of_example(f"(new, of domain {domain})"):
            return own_fault(self.config.tail.filter, told)

    def _proper(self, example: NewExample, domain: str) -> str | None:
        task = self.config.task_of(domain)
        return proper_answer(task, example.answer, self._labels(domain), example.question)

    def _labels(self, domain: str) -> Sequence[str] | None:
        """Return the labels that an answer may be: its own alone, if there are too many to list."""
        own = self.labels.own.get(domain)
        return self.labels.among.get(domain) or (None if own is None else (own,))
