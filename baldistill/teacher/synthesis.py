"""New examples for tail domains, written by the teacher from demonstrations of the domain.

The paper's tail step (section 3): when a domain's quota exceeds its real examples, the teacher
writes the rest. One answer carries question, rationale and answer, so a new example costs one
call and one unit of B. The paper does not check new examples. Here each one must parse, have an
answer that the domain can have, and be unlike every existing question. With `tail.votes` the
teacher, or another model (`tail.verifier`), must also reach the same answer when it solves the
question. Where answers are texts, a judge decides instead.

A recording fills the quota in its own order, with the same demands. It cannot solve its questions:
the conclusion of the recorded rationale stands in for the votes.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from baldistill.config import Config
from baldistill.core.answers import marked_answer
from baldistill.core.majority import quorum
from baldistill.equality import NOT_COMPARED
from baldistill.generation.types import Sampling
from baldistill.records import AnnotatedExample, RejectedAnswer, digest
from baldistill.teacher.judge import Judge
from baldistill.teacher.parsing import EXAMPLE_SCHEMA, NewExample, parse_solution
from baldistill.teacher.question import RETRY_TEMPERATURE, UNCHECKED
from baldistill.teacher.recorded import RECORDED_SAMPLING
from baldistill.teacher.rubric_judge import RubricJudge
from baldistill.teacher.tail_domain import TailDomain
from baldistill.teacher.teacher import Answer, Question, Teacher


class Window(Protocol):
    """Bounds on new examples that are good in themselves (`method.difficulty.Difficulty`)."""

    def outside(self, written: Mapping[str, tuple[str, NewExample]]) -> dict[str, str]:
        """Return why some are outside of the bounds, by the ids of `written`."""
        ...


__all__ = ["Synthesized", "TailDomain", "synthesize"]


@dataclass(slots=True)
class Synthesized:
    """The outcome of writing new examples.

    Attributes:
        annotated: New examples.
        rejected: Answers that were not accepted.
        refused: The cap of the ledger that ended the work.
        repaired: New examples whose JSON was malformed.
    """

    annotated: list[AnnotatedExample] = field(default_factory=list)
    rejected: list[RejectedAnswer] = field(default_factory=list)
    refused: str | None = None
    repaired: int = 0


def synthesize(
    wanted: Mapping[str, int],
    domains: Mapping[str, TailDomain],
    teachers: Sequence[Teacher],
    config: Config,
    *,
    stage: int,
    on_answers: Callable[[int], None] | None = None,
    verifier: Teacher | None = None,
    window: Window | None = None,
    rubric_judge: RubricJudge | None = None,
) -> Synthesized:
    """Write new examples, round by round, until each domain has enough or has no attempts left.

    Each round asks only for missing examples, so that no unit of the budget is held twice.
    Answers are judged in the order of their questions, not in the order of their arrival.
    Each further teacher (of a cascade) writes the examples that the earlier ones could not.

    Args:
        wanted: Number of new examples by domain.
        domains: State of the same domains; updated.
        teachers: Whom to ask, in this order.
        config: The run's.
        stage: For prompts and ledger.
        on_answers: For progress.
        verifier: Who solves the new questions; by default whoever wrote them.
        window: Rejects further examples, before anybody votes.
        rubric_judge: Decides where answers are texts.
    """
    result = Synthesized()
    missing = {domain: count for domain, count in wanted.items() if count > 0}
    for teacher in teachers:
        if missing and not result.refused:
            kind = _Recording if teacher.config.recorded else _Writer
            about = config, stage, on_answers, result, verifier, window, rubric_judge
            kind(teacher, domains, *about).write(missing)
            missing = {domain: count for domain, count in missing.items() if count > 0}
    return result


@dataclass(slots=True)
class _Writer:
    """One teacher that writes new examples into `result`."""

    teacher: Teacher
    domains: Mapping[str, TailDomain]
    config: Config
    stage: int
    on_answers: Callable[[int], None] | None
    result: Synthesized
    verifier: Teacher | None = None
    window: Window | None = None
    rubric_judge: RubricJudge | None = None
    judge: Judge = field(init=False)

    def __post_init__(self) -> None:
        self.judge = Judge(self.config, self.teacher.prompts.labels)

    def write(self, missing: dict[str, int]) -> None:
        """Ask round by round; count down what each domain is missing."""
        attempts_left = {domain: self._most(domain, count) for domain, count in missing.items()}
        while not self.result.refused:
            order = [
                domain
                for domain in sorted(missing)
                for _ in range(min(missing[domain], attempts_left[domain]))
            ]
            if not order:
                return
            self._write_round(order, missing)
            for domain in order:
                attempts_left[domain] -= 1

    def _write_round(self, order: Sequence[str], missing: dict[str, int]) -> None:
        """Ask for one example of each named domain, and judge the answers in this order."""
        questions = [self._question(domain) for domain in order]
        answers = self.teacher.ask(
            questions, self._sampling(), stage=self.stage, on_answers=self.on_answers
        )
        examples = [
            self.judge.read(a.text, d, cut=a.cut) for d, a in zip(order, answers, strict=True)
        ]
        written = list(zip(order, answers, examples, strict=True))
        good = {
            answer.request_id: (domain, example)
            for domain, answer, example in written
            if answer.outcome == "answered"
            and example is not None
            and self._fault(domain, answer, example) is None
        }
        unfit = {n: why for n, (d, e) in good.items() if (why := self.judge.filtered(e, d))}
        good = {name: pair for name, pair in good.items() if name not in unfit}
        outside = self.window.outside(good) if self.window is not None and good else {}
        within = {name: pair for name, pair in good.items() if name not in outside}
        unfit |= {**outside, **self._not_good(within)}
        newly_rejected: dict[str, str] = {}
        for domain, answer, example in written:
            if answer.outcome == "refused":
                self.result.refused = answer.reason
                continue
            # judged again: an example accepted in this round may be its duplicate
            reason = self._fault(domain, answer, example)
            reason = reason or unfit.get(answer.request_id)
            if reason == UNCHECKED:  # the call keeps its unit, as of an explained example
                continue
            if reason is None and example is not None:
                self.domains[domain].existing.add(example.question)
                self.result.annotated.append(self._annotated(domain, example, answer))
                self.result.repaired += example.repaired
                missing[domain] -= 1
                continue
            self.result.rejected.append(answer.as_rejected("synthesis", domain, str(reason)))
            if answer.outcome == "answered":
                newly_rejected[answer.request_id] = str(reason)
        self.teacher.reject(newly_rejected)

    def _most(self, domain: str, count: int) -> int:
        """Return the most calls for so many missing examples of a domain."""
        tail = self.domains[domain]
        if not (tail.first or tail.demonstrations):  # no answer of its real examples was accepted
            return 0
        return math.ceil(count * self.config.tail.max_attempts_per_example)

    def _sampling(self) -> Sampling:
        sampling = self.teacher.sampling(self.teacher.config.synthesis)
        if self.teacher.config.structured:
            return replace(sampling, json_schema=EXAMPLE_SCHEMA)
        return sampling

    def _question(self, domain: str) -> Question:
        """Return the next question of a domain; its demonstrations are a seeded sample."""
        tail, seed = self.domains[domain], self.config.seed
        number = tail.num_asked
        tail.num_asked += 1
        key = digest({"seed": seed, "stage": self.stage, "domain": domain, "number": number})
        shown = tail.sample(self.config.tail.demonstrations, random.Random(int(key, 16)))
        prompt = self.teacher.prompts.render(
            "synthesis",
            domain=domain,
            demonstrations=[asdict(e) | {"question": e.whole_question} for e in shown],
            structured=self.teacher.config.structured,
        )
        return Question(prompt, "synthesis", domain, attempt=int(key[:15], 16))

    def _fault(self, domain: str, answer: Answer, example: NewExample | None) -> str | None:
        """Return why an answer is no good example; None for a good one."""
        if answer.reason:
            return answer.reason
        if example is None:
            return answer.because("malformed")
        return self.judge.fault(example, domain, self.domains[domain].existing)

    def _not_good(self, written: Mapping[str, tuple[str, NewExample]]) -> dict[str, str]:
        """Return why new examples that are well formed are none: by the judge, or by votes."""
        judged = {name: one for name, one in written.items() if self.config.is_judged(one[0])}
        others = {name: one for name, one in written.items() if name not in judged}
        if self.rubric_judge is None or not judged:
            return self._unverified(others)
        learnt = self.config.student.target != "label"
        reasons, cap = self.rubric_judge.judge_new(judged, self.stage, with_rationale=learnt)
        self.result.refused = cap or self.result.refused
        return self._unverified(others) | reasons

    def _unverified(self, written: Mapping[str, tuple[str, NewExample]]) -> dict[str, str]:
        """Let new questions be solved unaided; return why some have no majority.

        Where a cap refuses a solution that could decide, the example is unchecked, and the cap ends
        the work.

        Args:
            written: Domain and example by the id of the request that wrote them.

        Returns:
            The reason by ids of `written`; none without `tail.votes`.
        """
        solver = self.verifier or self.teacher
        votes, chosen = self.config.tail.votes, solver.config.rationale
        temperatures = [chosen.temperature, max(chosen.temperature, RETRY_TEMPERATURE)]
        num_agreed = dict.fromkeys(written, 0)
        reasons = dict.fromkeys(written, "not verified")
        # the first votes of all examples in one call of `ask`, the further votes in another
        ballots = range(min(votes, 1)), range(1, votes)
        for temperature, some in zip(temperatures, ballots, strict=True):
            asked = [(name, ballot) for name in written for ballot in some]
            questions = (_solve(solver, *written[name], ballot) for name, ballot in asked)
            sampling = solver.sampling(chosen, temperature)
            solutions = solver.ask(questions, sampling, stage=self.stage)
            for (name, _), solution in zip(asked, solutions, strict=True):
                domain, example = written[name]
                agrees = self.judge.agrees(example, domain, solution.text)
                num_agreed[name] += agrees is True
                if agrees is None and reasons[name] != UNCHECKED:
                    reasons[name] = f"not verified: {NOT_COMPARED}"
                if solution.outcome == "refused":
                    self.result.refused = solution.reason
                    reasons[name] = UNCHECKED
        return {
            name: reasons[name]
            for name, number in num_agreed.items()
            if votes and number < quorum(votes)
        }

    def _annotated(self, domain: str, example: NewExample, answer: Answer) -> AnnotatedExample:
        target, votes = self.config.student.target, self.config.tail.votes
        return AnnotatedExample(
            digest({"domain": domain, "question": example.question}),
            domain,
            example.question,
            example.answer,
            source="synthetic",
            rationale=example.rationale if target != "label" else None,
            verified=True if votes or self.config.is_judged(domain) else None,
            attempts=1,
            request_id=answer.request_id,
            repaired=example.repaired or None,
        )


def _solve(solver: Teacher, domain: str, example: NewExample, attempt: int) -> Question:
    prompt = solver.prompts.render("solve", question=example.question, domain=domain)
    return Question(prompt, "verification", domain, units=0, attempt=attempt)


class _Recording(_Writer):
    """A teacher whose new examples were recorded. Trying one costs nothing, so all may be tried."""

    __slots__ = ()

    def _most(self, domain: str, count: int) -> int:
        return len(self._left(domain))

    def _sampling(self) -> Sampling:
        return RECORDED_SAMPLING

    def _question(self, domain: str) -> Question:
        return self._left(domain).popleft()

    def _left(self, domain: str) -> deque[Question]:
        return self.domains[domain].recorded.get(self.teacher.tier, deque())

    def _unverified(self, written: Mapping[str, tuple[str, NewExample]]) -> dict[str, str]:
        """Return why the conclusion of a recorded rationale is not the recorded answer.

        A conclusion in words is looked for only if the user wants new examples verified, and no
        verifier votes on them.
        """
        if self.verifier is not None:
            return _Writer._unverified(self, written)
        reasons = {}
        for name, (domain, example) in written.items():
            if self.config.tail.votes or marked_answer(example.rationale) is not None:
                agrees = self.judge.agrees(example, domain, example.rationale)
                if agrees is None:
                    reasons[name] = f"not verified: {NOT_COMPARED}"
                elif not agrees:
                    reasons[name] = "not verified"
        return reasons

    def _annotated(self, domain: str, example: NewExample, answer: Answer) -> AnnotatedExample:
        rationale = parse_solution(example.rationale).rationale  # without its `Answer:` line
        example = replace(example, rationale=rationale or example.rationale)
        return _Writer._annotated(self, domain, example, answer)
