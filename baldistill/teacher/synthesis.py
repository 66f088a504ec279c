"""New examples for tail domains, written by the teacher from demonstrations of the domain.

The paper's tail step (section 3): when a domain's quota exceeds its real examples, the teacher
writes the rest. One answer carries question, rationale and answer, so a new example costs one
call and one unit of B. Checked here, and not in the paper: it must parse, have an answer that the
domain can have, be unlike every known question, and (`tail.votes`) the teacher must reach the same
answer when it solves its own question.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from baldistill.config import Config
from baldistill.records import AnnotatedExample, Example, RejectedAnswer, digest
from baldistill.teacher.judge import Judge
from baldistill.teacher.near_duplicates import KnownQuestions
from baldistill.teacher.parsing import EXAMPLE_SCHEMA, NewExample
from baldistill.teacher.rationale import RETRY_TEMPERATURE
from baldistill.teacher.teacher import Answer, Question, Teacher


@dataclass(slots=True)
class Synthesized:
    """What the teacher wrote.

    Attributes:
        annotated: New examples.
        rejected: Answers that were not accepted.
        refused: The cap of the ledger that ended the work.
    """

    annotated: list[AnnotatedExample] = field(default_factory=list)
    rejected: list[RejectedAnswer] = field(default_factory=list)
    refused: str | None = None


@dataclass(slots=True)
class TailDomain:
    """A tail domain during one stage.

    Attributes:
        demonstrations: Real examples to show.
        known: What a new question must be unlike.
        asked: Calls made for it in this stage, so that no call is made twice.
    """

    demonstrations: Sequence[Example]
    known: KnownQuestions
    asked: int = 0


def synthesize(
    wanted: Mapping[str, int],
    domains: Mapping[str, TailDomain],
    teachers: Sequence[Teacher],
    config: Config,
    *,
    stage: int,
    on_answers: Callable[[int], None] | None = None,
) -> Synthesized:
    """Write new examples, round by round, until each domain has what it wants or is dry.

    Each round asks for exactly what is missing, so that no unit is ever held twice. Answers are
    judged in the order they were asked for, whatever the order they came in.

    Args:
        wanted: New examples by domain.
        domains: The same domains' demonstrations and known questions; updated.
        teachers: Whom to ask; a further one (of a cascade) writes what the one before could not.
        config: `tail`, `seed`, and the bounds of `data`.
        stage: For prompts and ledger.
        on_answers: For progress.
    """
    result = Synthesized()
    missing = {domain: count for domain, count in wanted.items() if count > 0}
    for teacher in (t for t in teachers if not t.config.recorded):  # which writes nothing new
        if missing and not result.refused:
            missing = _rounds(missing, domains, teacher, config, stage, on_answers, result)
    return result


def _rounds(
    missing: dict[str, int],
    domains: Mapping[str, TailDomain],
    teacher: Teacher,
    config: Config,
    stage: int,
    on_answers: Callable[[int], None] | None,
    result: Synthesized,
) -> dict[str, int]:
    """One teacher's rounds; adds to `result` and returns what each domain still lacks."""
    left = {d: math.ceil(n * config.tail.max_attempts_per_example) for d, n in missing.items()}
    sampling, judge = teacher.sampling(teacher.config.synthesis), _judge(teacher, config)
    if teacher.config.structured:
        sampling = replace(sampling, json_schema=EXAMPLE_SCHEMA)
    while missing:
        order = [
            domain for domain in sorted(missing) for _ in range(min(missing[domain], left[domain]))
        ]
        if not order:
            break
        questions = [_question(d, domains[d], teacher, config, stage) for d in order]
        answers = teacher.ask(questions, sampling, stage=stage, on_answers=on_answers)
        examples = [judge.read(a.text, d) for d, a in zip(order, answers, strict=True)]
        fresh = {
            answer.request_id: (domain, example)
            for domain, answer, example in zip(order, answers, examples, strict=True)
            if answer.standing == "answered"
            and example is not None
            and judge.fault(example, domain, domains[domain].known) is None
        }
        unverified = _unverified(fresh, teacher, config, stage, result)
        rejected: dict[str, str] = {}
        for domain, answer, example in zip(order, answers, examples, strict=True):
            left[domain] -= 1
            if answer.standing == "refused":
                result.refused = answer.detail
                continue
            known = domains[domain].known
            reason = _reason(answer, example, domain, known, judge)
            if reason is None and answer.request_id in unverified:
                reason = "not verified"
            if reason is None and example is not None:
                known.add(example.question)
                result.annotated.append(_annotated(domain, example, answer, config))
                missing[domain] -= 1
                continue
            result.rejected.append(_rejected(domain, answer, reason))
            if answer.standing == "answered":
                rejected[answer.request_id] = str(reason)
        teacher.reject(rejected)
        if result.refused:
            break
        missing = {domain: count for domain, count in missing.items() if count > 0}
    return missing


def _question(
    domain: str, tail: TailDomain, teacher: Teacher, config: Config, stage: int
) -> Question:
    """The next prompt of a domain; its demonstrations are a seeded sample."""
    number = tail.asked
    tail.asked += 1
    key = digest({"seed": config.seed, "stage": stage, "domain": domain, "number": number})
    pool = list(tail.demonstrations)
    shown = random.Random(int(key, 16)).sample(pool, min(config.tail.demonstrations, len(pool)))
    prompt = teacher.prompts.render(
        "synthesis",
        domain=domain,
        demonstrations=[asdict(example) for example in shown],
        structured=teacher.config.structured,
    )
    return Question(prompt, "synthesis", domain, attempt=int(key[:15], 16))


def _reason(
    answer: Answer, example: NewExample | None, domain: str, known: KnownQuestions, judge: Judge
) -> str | None:
    """Why what came back is not taken; None for a good example."""
    if answer.detail:
        return answer.detail
    if example is None:
        return answer.because("malformed")
    return judge.fault(example, domain, known)


def _unverified(
    written: Mapping[str, tuple[str, NewExample]],
    teacher: Teacher,
    config: Config,
    stage: int,
    result: Synthesized,
) -> set[str]:
    """Let the teacher solve its own questions unaided; returns the ids where most votes disagree.

    `written` holds domain and example by the id of the request that wrote them. What a cap
    leaves unsolved is not verified, and ends the work: `result` is told.
    """
    votes, chosen, judge = config.tail.votes, teacher.config.rationale, _judge(teacher, config)
    heats = [chosen.temperature, max(chosen.temperature, RETRY_TEMPERATURE)]
    agreed = dict.fromkeys(written, 0)
    # all first votes in one call to the teacher, all further ones in another
    for heat, ballots in zip(heats, (range(min(votes, 1)), range(1, votes)), strict=True):
        asked = [(name, ballot) for name in written for ballot in ballots]
        questions = (_solve(*written[name], teacher, ballot) for name, ballot in asked)
        solved = teacher.ask(questions, teacher.sampling(chosen, heat), stage=stage)
        for (name, _), answer in zip(asked, solved, strict=True):
            domain, example = written[name]
            agreed[name] += judge.agrees(example, domain, answer.text)
            if answer.standing == "refused":
                result.refused = answer.detail
    return {name for name, count in agreed.items() if votes and 2 * count <= votes}


def _judge(teacher: Teacher, config: Config) -> Judge:
    return Judge(config, teacher.prompts.labels)


def _solve(domain: str, example: NewExample, teacher: Teacher, attempt: int) -> Question:
    prompt = teacher.prompts.render("solve", question=example.question, domain=domain)
    return Question(prompt, "verification", domain, units=0, attempt=attempt)


def _annotated(
    domain: str, example: NewExample, answer: Answer, config: Config
) -> AnnotatedExample:
    return AnnotatedExample(
        digest({"domain": domain, "question": example.question}),
        domain,
        example.question,
        example.answer,
        source="synthetic",
        rationale=example.rationale if config.student.target == "rationale" else None,
        verified=True if config.tail.votes else None,
        attempts=1,
        request_id=answer.request_id,
    )


def _rejected(domain: str, answer: Answer, reason: str | None) -> RejectedAnswer:
    return RejectedAnswer(
        request_id=answer.request_id,
        purpose="synthesis",
        domain=domain,
        example_id=None,
        reason=str(reason),
        text=answer.text or answer.failure,
    )
