"""Decide what counts as a good answer to a real example: `rationale.accept`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from baldistill.config import Config
from baldistill.core.answers import extract, marked_answer, proper_answer
from baldistill.core.own_filter import TeacherAnswer, own_fault
from baldistill.core.own_parts import of_example
from baldistill.equality import NOT_COMPARED, is_accepted, same_answer
from baldistill.records import AnnotatedExample, Example
from baldistill.teacher.parsing import parse_solution
from baldistill.teacher.prompts import PromptSet
from baldistill.teacher.question import Answer
from baldistill.teacher.rubric_judge import Judged, RubricJudge, Verdict


@dataclass(frozen=True, slots=True)
class Reading:
    """A teacher's answer, read.

    Attributes:
        rationale: The steps before the conclusion; may be empty.
        conclusion: The answer that it comes to; None for none.
        fault: Why it is not well formed; None if it is.
    """

    rationale: str
    conclusion: str | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Reads the answers of a teacher, and compares them by the task of their domain.

    Attributes:
        is_taught: Whether what is accepted teaches the student, so that a user's filter reads it.
    """

    config: Config
    prompts: PromptSet
    is_taught: bool = True

    def read(self, example: Example, answer: Answer) -> Reading:
        """Find rationale and conclusion.

        Where no gold answer decides, an answer that was cut off has no conclusion: it could be any
        number of the working.
        """
        task = self.config.task_of(example.domain)
        rationale = self._rationale(example, answer)
        uses_gold = self.config.rationale.accept == "gold"
        with of_example(example.example_id):
            conclusion = extract(task, answer.text, self._choices(example), example.question)
        fault = None
        keeps_thoughts = self.config.rationale.keep == "thoughts"
        if keeps_thoughts and answer.thoughts.cut:
            return Reading(rationale, conclusion, "thoughts cut off")
        if keeps_thoughts and not rationale:
            fault = "no thoughts"
        elif not rationale and self.config.student.target != "label":
            fault = "empty rationale"
        elif conclusion is None or (answer.cut and not uses_gold):
            fault = "no conclusion"
        elif not uses_gold and len(conclusion) > self.config.data.max_answer_chars:
            fault = "over-long"
        return Reading(rationale, conclusion, fault and answer.because(fault))

    def fault(self, example: Example, answer: Answer) -> str | None:
        """Return why an answer is not accepted by itself; None for a good one.

        Where a judge decides, None means that the answer can be judged.
        """
        reading = self.read(example, answer)
        is_compared = self.config.rationale.accept == "gold" and not self._is_judged(example)
        fault = reading.fault
        if fault is None and is_compared:
            fault = self._wrong(example, answer, reading)
        return fault or self.filtered(example, answer, reading)

    def filtered(self, example: Example, answer: Answer, reading: Reading) -> str | None:
        """Return why a user's filter rejects an answer; None where none does."""
        if self.config.rationale.filter is None or not self.is_taught:
            return None
        told = TeacherAnswer(
            "real",
            example.domain,
            example.whole_question,
            reading.rationale,
            reading.conclusion or "",
        )
        with of_example(example.example_id):
            fault = own_fault(self.config.rationale.filter, told)
        return fault and answer.because(fault)

    def _wrong(self, example: Example, answer: Answer, reading: Reading) -> str | None:
        """Return why a conclusion is not the gold answer; None if it is."""
        task, choices = self.config.task_of(example.domain), self._choices(example)
        question = example.question
        with of_example(example.example_id):
            same = is_accepted(task, reading.conclusion, example.accepted, choices, question)
        if same is None:
            return answer.because(NOT_COMPARED)
        return None if same else answer.because("wrong conclusion")

    def decide(
        self,
        asked: Sequence[tuple[Example, Answer]],
        faults: Sequence[str | None],
        judge: RubricJudge | None,
        stage: int,
    ) -> list[Verdict]:
        """Return what becomes of answers: the judge decides where an answer has no other fault."""
        uses_gold = self.config.rationale.accept == "gold"
        texts = {
            number: Judged(
                example.domain,
                example.whole_question,
                answer.text.strip(),
                example.answer if uses_gold else "",
            )
            for number, (example, answer) in enumerate(asked)
            if faults[number] is None and self._is_judged(example)
        }
        verdicts: dict[int, Verdict] = {}
        if texts:
            assert judge is not None, "the config has one"
            verdicts = dict(zip(texts, judge.judge([*texts.values()], stage=stage), strict=True))
        return [verdicts.get(number) or Verdict(None, fault) for number, fault in enumerate(faults)]

    def compare(self, example: Example, a: str | None, b: str | None) -> bool | None:
        """Return whether two answers to an example are the same; None if that stayed open."""
        task = self.config.task_of(example.domain)
        with of_example(example.example_id):
            return same_answer(task, a, b, self._choices(example), example.question)

    def accepted(
        self, example: Example, answer: Answer, conclusion: str | None, attempts: int
    ) -> AnnotatedExample:
        """Return an accepted example; what was concluded is its answer where no gold decides."""
        config, choices = self.config, self._choices(example)
        annotated = replace(
            label_only(example),
            verified=None if config.rationale.accept == "any" else True,
            attempts=attempts,
            request_id=answer.request_id,
        )
        if config.rationale.accept != "gold" and conclusion is not None:
            task, question = config.task_of(example.domain), example.question
            proper = proper_answer(task, conclusion, choices, question)
            annotated = replace(annotated, answer=proper or conclusion, alternatives=None)
        if config.student.target != "label":
            annotated = replace(annotated, rationale=self._rationale(example, answer))
        return annotated

    def _rationale(self, example: Example, answer: Answer) -> str:
        """Return what the student is to learn before the answer: `rationale.keep`."""
        if self.config.rationale.keep == "thoughts":
            return "" if answer.thoughts.cut else answer.thoughts.text or ""
        if self.config.task_of(example.domain) == "judged" and marked_answer(answer.text) is None:
            return ""  # all of it is the answer
        return parse_solution(answer.text).rationale

    def _is_judged(self, example: Example) -> bool:
        return self.config.is_judged(example.domain, real=True)

    def _choices(self, example: Example) -> Sequence[str] | None:
        return example.choices or self.prompts.labels_of(example.domain)


def label_only(example: Example) -> AnnotatedExample:
    """Return an example that teaches its answer without a rationale."""
    return AnnotatedExample(
        **asdict(example),
        source="real",
        rationale=None,
        verified=None,
        attempts=0,
        request_id=None,
    )
