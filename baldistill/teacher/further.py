"""Further rationales of real examples: several for one question, each a unit of the budget.

Fine-tune-CoT (Ho et al. 2022) calls it diverse reasoning: the student sees one question with
several ways to its answer. As a fill of tail domains (`tail.fill: rationales`) it adds no question,
but nothing can drift: each rationale must conclude what was accepted of its example, and differ
from those that the example has.

A further rationale is asked as another attempt is, at a temperature above 0, under the next number
that no call about the example had. So none is paid for twice, and a resumed run finds them all.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from baldistill.config import Config
from baldistill.generation.types import Sampling
from baldistill.records import EXAMPLES, AnnotatedExample, Example, RejectedAnswer, digest
from baldistill.teacher.acceptance import Acceptance
from baldistill.teacher.question import RETRY_TEMPERATURE, request_id_of
from baldistill.teacher.rationale import Explained, rationale_question
from baldistill.teacher.rubric_judge import RubricJudge
from baldistill.teacher.teacher import Answer, Question, Teacher

REPEATED = "repeats a rationale"

_MOST_IN_VAIN = 4  # calls in rounds that brought a domain nothing: such a teacher has no more


@dataclass(slots=True)
class Explainable:
    """A real example that has a rationale.

    Attributes:
        texts: Its rationales, as they are compared.
        tries: Its rationales and its rejected answers: those with the fewest are asked first.
        order: Decides between examples with as many tries; drawn by seed.
    """

    example: Example
    texts: set[str]
    tries: int
    order: str


def explainable(
    rows: Iterable[AnnotatedExample],
    rejected: Iterable[RejectedAnswer],
    domains: Collection[str],
    seed: int,
) -> dict[str, list[Explainable]]:
    """Return the real examples of each domain that have a rationale, out of annotated rows."""
    found: dict[str, Explainable] = {}
    again = []
    for row in rows:
        if row.domain not in domains or row.rationale is None:
            continue
        if row.source == "real":
            values = {key: getattr(row, key) for key in EXAMPLES.names}
            example = Example(**values, alternatives=row.alternatives, context=row.context)
            order = digest({"seed": seed, "example": row.example_id})
            found[row.example_id] = Explainable(example, {_compared(row.rationale)}, 1, order)
        elif row.source == "further":
            again.append((row.example_id, row.rationale))
    for name, text in again:
        found[name].texts.add(_compared(text))
        found[name].tries += 1
    for answer in rejected:
        if answer.example_id in found:
            found[answer.example_id].tries += 1
    by_domain: dict[str, list[Explainable]] = {domain: [] for domain in domains}
    for one in found.values():
        by_domain[one.example.domain].append(one)
    return by_domain


def explain_again(
    wanted: Mapping[str, int],
    examples: Mapping[str, Sequence[Explainable]],
    teachers: Sequence[Teacher],
    config: Config,
    *,
    stage: int,
    asked: Collection[str],
    attempts: float,
    most: int | None = None,
    on_answers: Callable[[int], None] | None = None,
    judge: RubricJudge | None = None,
) -> Explained:
    """Let the teacher explain real examples again, until each domain has enough.

    Each further teacher (of a cascade) writes what the earlier ones could not.

    Args:
        wanted: Number of further rationales by domain.
        examples: Of the same domains; updated.
        teachers: Whom to ask, in this order.
        config: The run's.
        stage: For the ledger.
        asked: Request ids of all earlier answers about these examples.
        attempts: Most calls of one teacher for each wanted rationale.
        most: Most rationales of an example; None for any number.
        on_answers: For progress.
        judge: Decides about texts.
    """
    result = Explained()
    missing = {domain: count for domain, count in wanted.items() if count > 0}
    for teacher in teachers:
        if missing and not result.refused:
            work = _Explainer(teacher, config, stage, set(asked), result, judge)
            work.explain(missing, examples, attempts, most, on_answers)
            missing = {domain: count for domain, count in missing.items() if count > 0}
    return result


@dataclass(slots=True)
class _Explainer:
    """One teacher that explains examples again.

    Attributes:
        asked: Request ids that are taken.
        numbers: The attempt that the next call about an example may have.
    """

    teacher: Teacher
    config: Config
    stage: int
    asked: set[str]
    result: Explained
    judge: RubricJudge | None = None
    numbers: dict[str, int] = field(default_factory=dict)

    def explain(
        self,
        missing: dict[str, int],
        examples: Mapping[str, Sequence[Explainable]],
        attempts: float,
        most: int | None,
        on_answers: Callable[[int], None] | None,
    ) -> None:
        """Ask round by round; count down what each domain is missing."""
        left = {domain: math.ceil(count * attempts) for domain, count in missing.items()}
        vain: Counter[str] = Counter()
        chosen = self.teacher.config.rationale
        sampling = self.teacher.sampling(chosen, max(chosen.temperature, RETRY_TEMPERATURE))
        while not self.result.refused:
            order = [
                one
                for domain in sorted(missing)
                for one in _next(examples[domain], min(missing[domain], left[domain]), most)
            ]
            if not order:
                return
            questions = [self._question(one.example, sampling) for one in order]
            answers = self.teacher.ask(questions, sampling, stage=self.stage, on_answers=on_answers)
            before = dict(missing)
            self._judge(order, answers, missing)
            for domain, asked in Counter(one.example.domain for one in order).items():
                left[domain] -= asked
                vain[domain] = vain[domain] + asked if missing[domain] == before[domain] else 0
                if vain[domain] >= _MOST_IN_VAIN:
                    left[domain] = 0

    def _question(self, example: Example, sampling: Sampling) -> Question:
        """Return the question under the next attempt that no call had."""
        rationale, name = self.config.rationale, example.example_id
        first = rationale.votes if rationale.accept == "majority" else 1
        number = self.numbers.get(name, first)
        while True:
            question = rationale_question(example, self.teacher, self.config, number)
            request_id = request_id_of(question, self.teacher.config.identity, sampling)
            number += 1
            if request_id not in self.asked:
                self.asked.add(request_id)
                self.numbers[name] = number
                return question

    def _judge(
        self, order: Sequence[Explainable], answers: Sequence[Answer], missing: dict[str, int]
    ) -> None:
        """Sort answers into the result, in the order of their questions."""
        acceptance = Acceptance(self.config, self.teacher.prompts)
        newly_rejected: dict[str, str] = {}
        pairs = list(zip(order, answers, strict=True))
        faults = [answer.reason or self._fault(one, answer, acceptance) for one, answer in pairs]
        asked = [(one.example, answer) for one, answer in pairs]
        verdicts = acceptance.decide(asked, faults, self.judge, self.stage)
        for (one, answer), verdict in zip(pairs, verdicts, strict=True):
            example = one.example
            if cap := answer.reason if answer.outcome == "refused" else verdict.refused:
                self.result.refused[example.example_id] = cap
                continue
            # looked at again: what was accepted in this round may be the same
            reason = verdict.fault or _repeated(one, answer, acceptance)
            if reason is None:
                # without a conclusion of its own, it is that of the example; each text is another
                is_text = self.config.rationale.accept == "judge"
                conclusion = acceptance.read(example, answer).conclusion if is_text else None
                accepted = acceptance.accepted(example, answer, conclusion, 1)
                made = replace(accepted, source="further")
                one.texts.add(_compared(str(made.rationale)))
                self.result.annotated.append(made)
                missing[example.domain] -= 1
                continue
            row = answer.as_rejected("rationale", example.domain, reason, example.example_id)
            self.result.rejected.append(row)
            if answer.outcome == "answered":
                newly_rejected[answer.request_id] = reason
        self.teacher.reject(newly_rejected)

    def _fault(self, one: Explainable, answer: Answer, acceptance: Acceptance) -> str | None:
        """Return why an answer is no further rationale; None for a good one."""
        if fault := acceptance.fault(one.example, answer):
            return fault
        if self.config.rationale.accept in ("majority", "any"):
            reading = acceptance.read(one.example, answer)
            same = acceptance.compare(one.example, reading.conclusion, one.example.answer)
            if not same:
                return answer.because("another conclusion")
        return _repeated(one, answer, acceptance)


def _repeated(one: Explainable, answer: Answer, acceptance: Acceptance) -> str | None:
    """Return that a rationale is one that the example has; None for another."""
    rationale = acceptance.read(one.example, answer).rationale
    return answer.because(REPEATED) if _compared(rationale) in one.texts else None


def _next(examples: Sequence[Explainable], number: int, most: int | None) -> list[Explainable]:
    """Choose whom to ask about next: those with the fewest tries, which are counted up."""
    heap = [(one.tries, one.order, place) for place, one in enumerate(examples)]
    heapq.heapify(heap)
    chosen: list[Explainable] = []
    pending: Counter[int] = Counter()
    while heap and len(chosen) < number:
        _, order, place = heapq.heappop(heap)
        one = examples[place]
        if most is not None and len(one.texts) + pending[place] >= most:
            continue
        pending[place] += 1
        one.tries += 1
        chosen.append(one)
        heapq.heappush(heap, (one.tries, order, place))
    return chosen


def _compared(rationale: str) -> str:
    """Return what of a rationale is compared: its words, without breaks and capitals."""
    return " ".join(rationale.casefold().split())
