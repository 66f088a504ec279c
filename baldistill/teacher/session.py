"""Questions on their way: reserved, answered, stored, settled, and asked again where need be."""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from baldistill.answers.completion import Completion
from baldistill.core.ledger import Release, Reserve, Settle
from baldistill.generation.pool import result_of
from baldistill.generation.types import Request, Sampling
from baldistill.records import request_id
from baldistill.teacher.parsing import without_thoughts
from baldistill.teacher.question import Answer, Question, prompt_bound

if TYPE_CHECKING:
    from baldistill.teacher.teacher import Teacher

_HELD = ("tokens", "cost")  # caps that a settlement sets something free of
_MOST_SETTLING = 32  # settlements on their way to the ledger
_LOOK_AGAIN = 0.5  # seconds until it is looked again for what another run is asking


@dataclass(slots=True)
class AskSession:
    """Questions while they are being answered.

    Attributes:
        teacher: Who is asked.
        sampling: How to write.
        stage: For the ledger.
        on_answers: Told how many answers came.
        pending: Questions that were not looked at yet.
        names: Request id of each question, in their order.
        answers: What is known, by request id.
        waiting: Questions refused while calls under way held what they would need.
        failed: Questions whose call failed and may have been charged: another call may be answered.
        elsewhere: Questions that another run on the same store is asking just now.
        settling: Settlements that the ledger was sent, in their order.
    """

    teacher: Teacher
    sampling: Sampling
    stage: int
    on_answers: Callable[[int], None]
    pending: Iterator[Question]
    names: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    waiting: dict[str, Question] = field(default_factory=dict)
    failed: dict[str, Question] = field(default_factory=dict)
    elsewhere: dict[str, Question] = field(default_factory=dict)
    settling: deque[Any] = field(default_factory=deque)
    _asked: set[str] = field(default_factory=set)
    _under_way: dict[str, Question] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)
    _exhausted: bool = False
    _holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    _sizes: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._sizes = self.teacher.pool.feed_sizes()

    @property
    def done(self) -> bool:
        """Whether every question has its answer, once what is under way is settled."""
        return self._exhausted and not (self.waiting or self.failed or self.elsewhere)

    def reserved(self) -> Iterator[Request]:
        """Reserve budget window by window; yields what the engines are to answer.

        A call holds its bound on tokens and money until it is settled, so near a cap on these
        the calls under way may hold what the next one needs. Then this ends early, and what was
        refused is asked again once all of them are settled. It is refused for good when it does
        not fit although none of them is under way. What another run is asking is looked at again
        when nothing of ours is under way: so no two runs ever wait for each other.
        """
        under_way = 0
        if self.elsewhere:
            time.sleep(_LOOK_AGAIN)
            self.waiting |= self.elsewhere
            self.elsewhere = {}
        while window := self._window():
            refused: dict[str, str] = {}
            requests = self._reserve(window, refused)
            under_way += len(requests)
            yield from requests
            if under_way and any(cap in _HELD for cap in refused.values()):
                self.waiting = {name: window[name] for name in refused}
                return
            self._know(Answer(name, "refused", detail=cap) for name, cap in refused.items())

    def _window(self) -> dict[str, Question]:
        """The next questions by request id: those that wait or failed, else new ones, each once."""
        window = self.waiting | self.failed
        self.waiting, self.failed = {}, {}
        while not window:
            questions = list(itertools.islice(self.pending, next(self._sizes)))
            if not questions:
                self._exhausted = True
                break
            names = [self._name(question) for question in questions]
            self.names += names
            window = {
                name: question
                for name, question in zip(names, questions, strict=True)
                if name not in self._asked
            }
            self._asked.update(window)
        return window

    def _reserve(self, questions: Mapping[str, Question], refused: dict[str, str]) -> list[Request]:
        """Reserve a window; returns the calls to make, and adds what a cap refused."""
        tier, recorded = self.teacher.tier, self.teacher.config.recorded
        questions = self._claimed(questions)
        reserves = []
        for name, question in questions.items():
            prompt = 0 if recorded else prompt_bound(question.prompt, self.sampling)
            reserves.append(
                Reserve(
                    name,
                    question.purpose,
                    self.stage,
                    question.domain,
                    units=question.units,
                    max_tokens=0 if recorded else prompt + self.sampling.max_new_tokens,
                    prompt_tokens=prompt,
                    calls=0 if recorded else 1,
                    tier=tier,
                )
            )
        found_again = self.teacher.config.finds_again
        grants, where = result_of(self.teacher.ledger.reserve.remote(reserves, found_again))
        stored = self.teacher.store.read(where)
        self._know(
            replace(_answered(name, answer), standing="rejected", detail=grants.rejected[name])
            if name in grants.rejected
            else _answered(name, answer)
            for name, answer in stored.items()
        )
        refused.update(grants.refused)
        called = {name: questions[name] for name in grants.granted if name not in stored}
        self._under_way |= called
        self._free(questions.keys() - called.keys())
        return [
            Request(
                name,
                question.prompt,
                seed=int(name[:15], 16),
                subject=question.subject if recorded else None,
                failures=self._failures[name],
            )
            for name, question in called.items()
        ]

    def _claimed(self, questions: Mapping[str, Question]) -> Mapping[str, Question]:
        """Without those that another run is asking; their answers will be in the store."""
        actor = self.teacher.store.in_flight
        if actor is None or self.teacher.config.recorded:
            return questions
        claim = actor.claim.remote(list(questions), self._holder, self.teacher.ledger)
        held = set(result_of(claim))
        self.elsewhere |= {name: questions[name] for name in held}
        return {name: question for name, question in questions.items() if name not in held}

    def _free(self, names: Iterable[str]) -> None:
        """Let other runs ask, or read from the store, what is not under way any more."""
        if (actor := self.teacher.store.in_flight) is not None:
            actor.free.remote(list(names), self._holder)

    def _know(self, answers: Iterable[Answer]) -> None:
        known = {answer.request_id: answer for answer in answers}
        self.answers |= known
        if known:
            self.on_answers(len(known))

    def kept(self, requests: Sequence[Request]) -> list[Completion | None]:
        """Answers that an engine had written when it died; None for those to be asked again."""
        answers = self.teacher.store.read_journals({request.request_id for request in requests})
        return [answers.get(request.request_id) for request in requests]

    def record(self, completions: Sequence[Completion]) -> None:
        """Store answers that are not, then settle them; a call that failed gives its unit back.

        One that may be made again is: as a call of its own, which a cap may refuse. The tokens of
        the one that failed stay held, for nobody knows what it cost.
        """
        for segment, answers in self._stored(completions).items():
            settled = [self._settlement(completion) for completion in answers]
            # not waited for: what is stored is settled by whoever reads the log after a crash
            self.settling.append(self.teacher.ledger.settle.remote(settled, segment))
            if len(self.settling) > _MOST_SETTLING:
                result_of(self.settling.popleft())
        failed = {c.request_id: c.error for c in completions if c.error is not None}
        reasons = {name: error.partition(":")[0] for name, error in failed.items()}
        self.teacher.reject(reasons)
        self._free(completion.request_id for completion in completions)
        for completion in completions:
            name = completion.request_id
            question = self._under_way.pop(name)
            if completion.retriable:
                self.failed[name] = question
                self._failures[name] += 1
                continue
            self.answers[name] = (
                Answer(name, "rejected", detail=reasons[name], failure=failed[name])
                if name in failed
                else _answered(name, completion)
            )
        self.on_answers(sum(not completion.retriable for completion in completions))

    def _stored(self, completions: Iterable[Completion]) -> dict[str, list[Completion]]:
        """Answers by the segment that has them: the engine's own, or one that is written now."""
        answers: dict[str | None, list[Completion]] = {}
        for completion in completions:
            if completion.error is None:
                answers.setdefault(completion.segment, []).append(completion)
        return {
            self.teacher.store.append(some) if segment is None else segment: some
            for segment, some in answers.items()
        }

    def release(self, charged: Iterable[Request]) -> None:
        """Take back what was reserved and is not answered, after the engines have stopped.

        Args:
            charged: But not these, which may be paid for.
        """
        names = self._under_way.keys() - {request.request_id for request in charged}
        releases = [Release(name) for name in names]
        result_of(self.teacher.ledger.release.remote(releases))

    def leave(self) -> None:
        """Let other runs ask whatever is still under way: this one asks no more."""
        if (actor := self.teacher.store.in_flight) is not None:
            actor.leave.remote(self._holder)

    def wait(self) -> None:
        """Let the ledger settle what it was sent; an error there is raised here."""
        while self.settling:
            result_of(self.settling.popleft())

    def _settlement(self, completion: Completion) -> Settle:
        if self.teacher.config.recorded:
            return Settle(completion.request_id, reused=True)
        return Settle(completion.request_id, completion.prompt_tokens, completion.completion_tokens)

    def _name(self, question: Question) -> str:
        engine, model = self.teacher.config.identity
        prompt: object = question.prompt
        if not isinstance(question.prompt, str):
            prompt = [[turn.role, turn.content] for turn in question.prompt]
        return request_id(
            engine=engine,
            model=model,
            prompt=prompt,
            sampling={k: v for k, v in asdict(self.sampling).items() if v is not None},
            attempt=question.attempt,
        )


def _answered(name: str, given: Completion) -> Answer:
    """What was answered; what the teacher thought before is in the store alone."""
    cut = given.finish_reason == "length"
    return Answer(name, "answered", without_thoughts(given.text), cut=cut)
