"""Rationales for real examples: zero-shot chain of thought, verified against the gold answer.

The paper gives the teacher the question and its gold answer and lets it explain (section 3.6,
zero-shot CoT); it does not check the explanation. Here the teacher's own conclusion must equal
the gold answer, else it is asked again, and what still fails is dropped, kept or taught without
a rationale, by option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from baldistill.config import Config
from baldistill.core.answers import equal, extract
from baldistill.generation.types import Subject
from baldistill.records import AnnotatedExample, Example, RejectedAnswer
from baldistill.teacher.parsing import parse_solution
from baldistill.teacher.prompts import PromptSet
from baldistill.teacher.teacher import Answer, Question, Teacher

RETRY_TEMPERATURE = 0.7  # asking a greedy teacher again would give the same answer


@dataclass(slots=True)
class Explained:
    """What the teacher made of real examples.

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
) -> Explained:
    """Let the teacher explain real examples.

    Args:
        examples: What to explain.
        teachers: Whom to ask; a further one (of a cascade) explains what the one before did not.
        config: `rationale` and, for how answers are judged, `data`.
        stage: For the ledger.
        on_answers: For progress.
    """
    result = Explained()
    pending = list(examples)
    tries = [(t, attempt) for t in teachers for attempt in range(config.rationale.max_attempts)]
    for number, (teacher, attempt) in enumerate(tries, start=1):
        if not pending:
            break
        questions = (
            Question(
                teacher.prompts.render(
                    "rationale",
                    question=example.question,
                    answer=example.answer,
                    domain=example.domain,
                ),
                "rationale",
                example.domain,
                attempt=attempt,
                subject=Subject(example.example_id, example.question, attempt),
            )
            for example in pending
        )
        chosen = teacher.config.rationale
        heat = chosen.temperature if attempt == 0 else max(chosen.temperature, RETRY_TEMPERATURE)
        sampling = teacher.sampling(chosen, heat)
        answers = teacher.ask(questions, sampling, stage=stage, on_answers=on_answers)
        last = number == len(tries)
        pending = _judge(pending, answers, teacher.prompts, config, number, last, result)
        fresh = {a.request_id for a in answers if a.standing == "answered"}
        teacher.reject({r.request_id: r.reason for r in result.rejected if r.request_id in fresh})
    return result


def label_only(example: Example) -> AnnotatedExample:
    """Return an example that teaches the gold answer without a rationale."""
    return _annotated(example, rationale=None, verified=None, attempts=0, request_id=None)


def _annotated(
    example: Example,
    *,
    rationale: str | None,
    verified: bool | None,
    attempts: int,
    request_id: str | None,
) -> AnnotatedExample:
    return AnnotatedExample(
        example.example_id,
        example.domain,
        example.question,
        example.answer,
        example.choices,
        source="real",
        rationale=rationale,
        verified=verified,
        attempts=attempts,
        request_id=request_id,
    )


def _judge(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    prompts: PromptSet,
    config: Config,
    attempts: int,
    last: bool,
    result: Explained,
) -> list[Example]:
    """Sort the answers into `result`; returns the examples to ask again."""
    again = []
    for example, answer in zip(examples, answers, strict=True):
        if answer.standing == "refused":
            result.refused[example.example_id] = str(answer.detail)
            continue
        judged_before = answer.detail if answer.standing == "rejected" else None
        reason = judged_before or _fault(example, answer, prompts, config)
        accepted = _annotated(
            example,
            rationale=parse_solution(answer.text).rationale,
            verified=reason is None,
            attempts=attempts,
            request_id=answer.request_id,
        )
        keep = last and config.rationale.on_mismatch == "keep" and accepted.rationale
        if reason is None or keep:
            result.annotated.append(accepted)
            continue
        answered = answer.standing == "answered"
        if last and answered and config.rationale.on_mismatch == "label_only":
            # the unit of the budget stays spent
            result.annotated.append(replace(accepted, rationale=None, verified=False))
            continue
        result.rejected.append(
            RejectedAnswer(
                request_id=answer.request_id,
                purpose="rationale",
                domain=example.domain,
                example_id=example.example_id,
                reason=reason,
                text=answer.text or answer.failure,
            )
        )
        if last:
            result.dropped[example.example_id] = example.domain
        else:
            again.append(example)
    return again


def _fault(example: Example, answer: Answer, prompts: PromptSet, config: Config) -> str | None:
    """Why an answer is no good rationale for the gold answer; None if it is."""
    if not parse_solution(answer.text).rationale:
        return answer.because("empty rationale")
    task = config.task_of(example.domain)
    choices = example.choices or prompts.labels_of(example.domain)
    question = example.question
    conclusion = extract(task, answer.text, choices, question)
    if conclusion is None:
        return answer.because("no conclusion")
    right = equal(task, conclusion, example.answer, choices, question)
    return None if right else answer.because("wrong conclusion")
