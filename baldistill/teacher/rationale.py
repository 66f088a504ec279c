"""Rationales for real examples: zero-shot chain of thought, verified against the gold answer.

The paper gives the teacher the question and its gold answer and lets it explain (section 3.6,
zero-shot CoT); it does not check the explanation. Here the teacher's own conclusion must equal
the gold answer, else the teacher is asked again. An example that still fails is dropped, kept, or
taught without a rationale, by option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from baldistill.config import Config
from baldistill.core.answers import extract
from baldistill.equality import NOT_COMPARED, is_accepted
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

    Each further teacher (of a cascade) explains the examples that the earlier ones did not.
    """
    result = Explained()
    pending = list(examples)
    tries = [(t, attempt) for t in teachers for attempt in range(config.rationale.max_attempts)]
    for number, (teacher, attempt) in enumerate(tries, start=1):
        if not pending:
            break
        questions = (_question(example, teacher.prompts, attempt) for example in pending)
        chosen = teacher.config.rationale
        retry = max(chosen.temperature, RETRY_TEMPERATURE)
        sampling = teacher.sampling(chosen, retry if attempt else None)
        answers = teacher.ask(questions, sampling, stage=stage, on_answers=on_answers)
        is_last = number == len(tries)
        pending = _judge(pending, answers, teacher.prompts, config, number, is_last, result)
        new = {answer.request_id for answer in answers if answer.outcome == "answered"}
        teacher.reject({r.request_id: r.reason for r in result.rejected if r.request_id in new})
    return result


def label_only(example: Example) -> AnnotatedExample:
    """Return an example that teaches the gold answer without a rationale."""
    return AnnotatedExample(
        **asdict(example),
        source="real",
        rationale=None,
        verified=None,
        attempts=0,
        request_id=None,
    )


def _question(example: Example, prompts: PromptSet, attempt: int) -> Question:
    return Question(
        prompts.render(
            "rationale", question=example.question, answer=example.answer, domain=example.domain
        ),
        "rationale",
        example.domain,
        attempt=attempt,
        subject=Subject(example.example_id, example.question, attempt),
    )


def _judge(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    prompts: PromptSet,
    config: Config,
    attempts: int,
    is_last: bool,
    result: Explained,
) -> list[Example]:
    """Sort the answers into `result`; return the examples to ask again."""
    again = []
    on_mismatch = config.rationale.on_mismatch if is_last else "ask again"
    for example, answer in zip(examples, answers, strict=True):
        if answer.outcome == "refused":
            result.refused[example.example_id] = str(answer.reason)
            continue
        reason = answer.reason or _fault(example, answer, prompts, config)
        annotated = replace(
            label_only(example),
            rationale=parse_solution(answer.text).rationale,
            verified=reason is None,
            attempts=attempts,
            request_id=answer.request_id,
        )
        if reason is None or (on_mismatch == "keep" and annotated.rationale):
            result.annotated.append(annotated)
        elif on_mismatch == "label_only" and answer.outcome == "answered":
            # not rejected: the example keeps its unit of the budget
            result.annotated.append(replace(annotated, rationale=None, verified=False))
        else:
            rejected = answer.as_rejected("rationale", example.domain, reason, example.example_id)
            result.rejected.append(rejected)
            if is_last:
                result.dropped[example.example_id] = example.domain
            else:
                again.append(example)
    return again


def _fault(example: Example, answer: Answer, prompts: PromptSet, config: Config) -> str | None:
    """Return why an answer is no good rationale for the gold answer; None for a good one."""
    if not parse_solution(answer.text).rationale:
        return answer.because("empty rationale")
    task = config.task_of(example.domain)
    choices = example.choices or prompts.labels_of(example.domain)
    question = example.question
    conclusion = extract(task, answer.text, choices, question)
    if conclusion is None:
        return answer.because("no conclusion")
    same = is_accepted(task, conclusion, example.accepted, choices, question)
    if same is None:
        return answer.because(NOT_COMPARED)
    return None if same else answer.because("wrong conclusion")
