"""Rationales for real examples: zero-shot chain of thought, and what counts as a good one.

The paper gives the teacher the question and its gold answer and lets it explain (section 3.6,
zero-shot CoT); it does not check the explanation. Here the teacher's own conclusion must equal
the gold answer, else the teacher is asked again. An example that still fails is dropped, kept, or
taught without a rationale, by option.

By option the teacher does not see the gold answer (`rationale.sees: question`), and no gold answer
is used: any conclusion is accepted, or that of the majority of several answers (`votes.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from baldistill.config import Config
from baldistill.core.ledger import Purpose
from baldistill.generation.types import Subject
from baldistill.records import AnnotatedExample, Example, RejectedAnswer
from baldistill.teacher.acceptance import Acceptance, label_only
from baldistill.teacher.question import RETRY_TEMPERATURE
from baldistill.teacher.rubric_judge import RubricJudge, Verdict
from baldistill.teacher.teacher import Answer, Question, Teacher
from baldistill.teacher.votes import Poll, hold

__all__ = ["RETRY_TEMPERATURE", "Explained", "explain", "label_only", "rationale_question"]


@dataclass(slots=True)
class Explained:
    """The outcome of explaining real examples.

    Attributes:
        annotated: Accepted examples.
        rejected: Answers that were not accepted.
        dropped: Domain of each example given up after the last attempt, by example id.
        refused: The cap of the ledger that refused an example, by example id.
    """

    annotated: list[AnnotatedExample] = field(default_factory=list)
    rejected: list[RejectedAnswer] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def explain(
    examples: Sequence[Example],
    teachers: Sequence[Teacher],
    config: Config,
    *,
    stage: int,
    on_answers: Callable[[int], None] | None = None,
    judge: RubricJudge | None = None,
) -> Explained:
    """Let the teacher explain real examples; the judge decides about texts.

    Each further teacher (of a cascade) explains the examples that the earlier ones did not.
    """
    if config.rationale.accept == "majority":
        return _explain_by_majority(examples, teachers, config, stage, on_answers)
    result = Explained()
    pending = list(examples)
    tries = [(t, attempt) for t in teachers for attempt in range(config.rationale.max_attempts)]
    for number, (teacher, attempt) in enumerate(tries, start=1):
        if not pending:
            break
        questions = (rationale_question(example, teacher, config, attempt) for example in pending)
        chosen = teacher.config.rationale
        retry = max(chosen.temperature, RETRY_TEMPERATURE)
        sampling = teacher.sampling(chosen, retry if attempt else None)
        answers = teacher.ask(questions, sampling, stage=stage, on_answers=on_answers)
        acceptance, is_last = Acceptance(config, teacher.prompts), number == len(tries)
        asked = list(zip(pending, answers, strict=True))
        faults = [answer.reason or acceptance.fault(example, answer) for example, answer in asked]
        verdicts = acceptance.decide(asked, faults, judge, stage)
        pending = _sort(asked, verdicts, acceptance, number, is_last, result)
        new = {answer.request_id for answer in answers if answer.outcome == "answered"}
        teacher.reject({r.request_id: r.reason for r in result.rejected if r.request_id in new})
    return result


def answer_by_majority(
    examples: Sequence[Example],
    teachers: Sequence[Teacher],
    config: Config,
    *,
    on_answers: Callable[[int], None] | None = None,
) -> Explained:
    """Let the teachers answer an evaluation set: no example is a unit of the budget."""
    return _explain_by_majority(examples, teachers, config, None, on_answers)


def rationale_question(
    example: Example,
    teacher: Teacher,
    config: Config,
    attempt: int,
    purpose: Purpose = "rationale",
) -> Question:
    """Return the question about a real example, at an attempt (from 0) or as a vote."""
    prompts = teacher.prompts
    asked: dict[str, Any] = {
        "question": example.question,
        "domain": example.domain,
        "context": example.context,
    }
    sees_answer = config.rationale.sees == "answer"
    return Question(
        prompts.render("rationale", **asked, answer=example.answer)
        if sees_answer
        else prompts.render("solve", **asked),
        purpose,
        example.domain,
        units=int(purpose == "rationale"),
        attempt=attempt,
        subject=Subject(example.example_id, example.question, attempt),
    )


def _sort(
    asked: Sequence[tuple[Example, Answer]],
    verdicts: Sequence[Verdict],
    acceptance: Acceptance,
    attempts: int,
    is_last: bool,
    result: Explained,
) -> list[Example]:
    """Sort the answers into `result`; return the examples to ask again."""
    again = []
    on_mismatch = acceptance.config.rationale.on_mismatch if is_last else "ask again"
    for (example, answer), verdict in zip(asked, verdicts, strict=True):
        if cap := answer.reason if answer.outcome == "refused" else verdict.refused:
            # of an answer that no judge has read, the call keeps the example's unit
            result.refused[example.example_id] = cap
            continue
        reason = verdict.fault
        conclusion = None if reason else acceptance.read(example, answer).conclusion
        annotated = acceptance.accepted(example, answer, conclusion, attempts)
        if reason is None:
            result.annotated.append(annotated)
        elif on_mismatch == "keep" and annotated.rationale:
            result.annotated.append(replace(annotated, verified=False))
        elif on_mismatch == "label_only" and answer.outcome == "answered":
            # not rejected: the example keeps its unit of the budget
            result.annotated.append(replace(annotated, rationale=None, verified=False))
        else:
            _reject(example, answer, reason, is_last, result)
            if not is_last:
                again.append(example)
    return again


def _reject(
    example: Example, answer: Answer, reason: str, is_last: bool, result: Explained
) -> None:
    rejected = answer.as_rejected("rationale", example.domain, reason, example.example_id)
    result.rejected.append(rejected)
    if is_last:
        result.dropped[example.example_id] = example.domain


def _explain_by_majority(
    examples: Sequence[Example],
    teachers: Sequence[Teacher],
    config: Config,
    stage: int | None,
    on_answers: Callable[[int], None] | None,
) -> Explained:
    """Let each teacher answer several times what the teachers before it did not agree on.

    An example that a cap refused keeps the unit that one of its calls holds: with a higher cap the
    run goes on with its votes. Without a stage, the examples are those of the evaluation set.
    """
    result, pending = Explained(), list(examples)
    for number, teacher in enumerate(teachers, start=1):
        acceptance = Acceptance(config, teacher.prompts, is_taught=stage is not None)
        polls = [Poll(example, acceptance) for example in pending]
        hold(polls, _asking(teacher, config, stage, on_answers))
        pending, newly_rejected = [], {}
        for poll in polls:
            example = poll.example
            if poll.refused:
                result.refused[example.example_id] = poll.refused
            elif (accepted := poll.accepted()) is not None:
                result.annotated.append(accepted)
            else:
                answer, reason = poll.rejected()
                _reject(example, answer, reason, number == len(teachers), result)
                pending.append(example)
                if answer.outcome == "answered":
                    newly_rejected[answer.request_id] = reason
        teacher.reject(newly_rejected)
    return result


def _asking(
    teacher: Teacher, config: Config, stage: int | None, on_answers: Callable[[int], None] | None
) -> Callable[[list[tuple[Poll, int]]], list[Answer]]:
    """Return a function that asks ballots; the first of a poll as any rationale is asked for."""
    chosen = teacher.config.rationale
    retry = max(chosen.temperature, RETRY_TEMPERATURE)

    def ask(asked: list[tuple[Poll, int]]) -> list[Answer]:
        questions = (
            rationale_question(poll.example, teacher, config, ballot, _purpose(poll, stage))
            for poll, ballot in asked
        )
        sampling = teacher.sampling(chosen, retry if asked[0][1] else None)
        # progress counts examples: each has one call that holds its unit
        is_first = asked[0][1] == 0
        return teacher.ask(
            questions, sampling, stage=stage or 0, on_answers=on_answers if is_first else None
        )

    return ask


def _purpose(poll: Poll, stage: int | None) -> Purpose:
    if stage is None:
        return "evaluation"
    return "rationale" if poll.holder is None else "vote"
