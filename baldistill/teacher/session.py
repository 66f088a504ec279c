"""The life of one `Teacher.ask`, from its questions to their answers.

Every question goes through the same four steps:

    reserve   The ledger grants a call, or names the cap that refuses it. An answer that the
              response store has already is taken from there, and no call is made.
    dispatch  The pool hands the granted calls to its engines. The engine of a server notes each
              call durably just before sending it.
    store     The answer becomes durable, unless the engine has written it to its journal.
    settle    The ledger records what the call cost, and frees the rest of its bound.

Budget is reserved window by window while the engines work on the window before. After a crash, the
ledger takes back what was reserved and not sent.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from baldistill.answers.completion import Completion
from baldistill.core.ledger import Cap, Reserve, Settle
from baldistill.errors import UserError
from baldistill.generation.engine import WorkStoppedError
from baldistill.generation.pool import result_of
from baldistill.generation.types import Request, Sampling, max_prompt_tokens
from baldistill.teacher.parsing import thoughts_of, without_thoughts
from baldistill.teacher.question import Answer, Question, request_id_of
from baldistill.teacher.unfinished import ENGINE_DIED, UnfinishedCalls

if TYPE_CHECKING:
    from baldistill.teacher.teacher import Teacher

# A refusal by one of these caps is retried: settling a call refunds part of what it reserved.
_REFUNDED_CAPS = ("tokens", "cost")
_MAX_UNCONFIRMED = 32  # settlements sent to the ledger and not confirmed yet
_POLL_SECONDS = 0.5  # between two looks for calls that another run is making


class AskSession:
    """The questions of one `Teacher.ask`, by request id, and how far each has come."""

    def __init__(
        self,
        teacher: Teacher,
        questions: Iterable[Question],
        sampling: Sampling,
        stage: int,
        on_answers: Callable[[int], None] | None,
    ) -> None:
        """Prepare; nothing is asked yet. The arguments are those of `Teacher.ask`."""
        self._teacher = teacher
        self._sampling = sampling
        self._stage = stage
        self._on_answers = on_answers
        self._unfinished = UnfinishedCalls(teacher)
        self._id = uuid.uuid4().hex  # names this session to the in-flight actor
        self._unread = iter(questions)
        self._has_unread = True
        self._window_sizes = teacher.pool.feed_sizes()
        self._request_ids: list[str] = []  # of all questions read, in their order
        self._answers: dict[str, Answer] = {}
        self._seen: set[str] = set()
        self._to_ask_again: dict[str, Question] = {}
        self._in_flight_elsewhere: dict[str, Question] = {}  # another run is asking these now
        self._under_way: dict[str, Question] = {}
        self._calls: dict[str, str] = {}  # the name of the last call for each
        self._failures: Counter[str] = Counter()
        self._num_reserved = 0
        self._unconfirmed: deque[Any] = deque()

    def run(self) -> list[Answer]:
        """Return the answers in the order of the questions; see `Teacher.ask`."""
        pool, of_dead_engine = self._teacher.pool, self._unfinished.of_dead_engine
        try:
            while self._has_unread or self._to_ask_again or self._in_flight_elsewhere:
                for completions in pool.stream(self.reserve(), self._sampling, of_dead_engine):
                    self.record(completions)
                self._confirm_settlements()
        except WorkStoppedError as stopped:
            self._confirm_settlements()
            calls = {name: self._calls[name] for name in self._under_way}
            self._unfinished.release_unsent(calls, stopped.charged)
            raise UserError(str(stopped)) from None
        except KeyboardInterrupt:
            self._unfinished.release_interrupted()
            raise
        finally:
            self._leave_in_flight()
        return [self._answers[request_id] for request_id in self._request_ids]

    # Reserve

    def reserve(self) -> Iterator[Request]:
        """Reserve budget window by window; yield the calls that the engines are to make.

        A call holds its bound on tokens and money until it is settled. Near such a cap the calls
        under way may hold what the next call needs. The iterator ends there, and `run` asks the
        refused questions again when all calls are settled. A refusal is final if this pass has
        granted no call so far.

        Questions that another run is asking are looked at again when no call of this session is
        under way. So no two runs ever wait for each other.
        """
        num_granted = 0
        if self._in_flight_elsewhere:
            time.sleep(_POLL_SECONDS)
            self._to_ask_again |= self._in_flight_elsewhere
            self._in_flight_elsewhere = {}
        while window := self._next_window():
            requests, refused = self._reserve_window(window)
            num_granted += len(requests)
            yield from requests
            if num_granted and any(cap in _REFUNDED_CAPS for cap in refused.values()):
                self._to_ask_again |= {request_id: window[request_id] for request_id in refused}
                return
            self._keep_answers(Answer(name, "refused", reason=cap) for name, cap in refused.items())

    def _next_window(self) -> dict[str, Question]:
        """Return the questions to ask again, else new questions; each request id comes once."""
        window, self._to_ask_again = self._to_ask_again, {}
        while not window:
            questions = list(itertools.islice(self._unread, next(self._window_sizes)))
            if not questions:
                self._has_unread = False
                break
            identity = self._teacher.config.identity
            names = [request_id_of(question, identity, self._sampling) for question in questions]
            self._request_ids += names
            named = zip(names, questions, strict=True)
            window = {name: question for name, question in named if name not in self._seen}
            self._seen.update(window)
        return window

    def _reserve_window(
        self, window: Mapping[str, Question]
    ) -> tuple[list[Request], dict[str, Cap]]:
        """Reserve a window; return the calls to make, and each refused question's cap."""
        teacher = self._teacher
        questions = self._begin_in_flight(window)
        reserves = [self._reservation(name, question) for name, question in questions.items()]
        finds_again = teacher.config.finds_again
        grants, where = result_of(teacher.ledger.reserve.remote(reserves, finds_again))
        stored = teacher.store.read(where)
        self._keep_answers(
            _answer(completion, grants.rejected.get(name)) for name, completion in stored.items()
        )
        calls = {name: questions[name] for name in grants.granted if name not in stored}
        self._under_way |= calls
        self._calls |= {r.request_id: r.call for r in reserves if r.request_id in calls}
        self._finish_in_flight(questions.keys() - calls.keys())
        requests = [
            Request(
                name,
                question.prompt,
                seed=int(name[:15], 16),
                subject=question.subject if teacher.config.recorded else None,
                failures=self._failures[name],
                call=self._calls[name],
            )
            for name, question in calls.items()
        ]
        return requests, grants.refused

    def _reservation(self, name: str, question: Question) -> Reserve:
        """Return the most that a call can need; a recorded answer needs only its unit."""
        teacher = self._teacher
        reserve = Reserve(
            name,
            question.purpose,
            self._stage,
            question.domain,
            units=question.units,
            calls=0,
            tier=teacher.tier,
        )
        if teacher.config.recorded:
            return reserve
        prompt = max_prompt_tokens(question.prompt, self._sampling)
        tokens = prompt + self._sampling.max_new_tokens
        call = ""
        if teacher.pool.notes_calls:
            self._num_reserved += 1
            call = f"{self._id[:8]}-{self._num_reserved}"
        return replace(reserve, calls=1, prompt_tokens=prompt, max_tokens=tokens, call=call)

    # Store and settle

    def record(self, completions: Sequence[Completion]) -> None:
        """Store answers, settle their calls, and tell the ledger which calls failed.

        A retriable call is made again as a further call, which a cap may refuse. The bound of the
        failed call stays held, because nobody knows what that call cost.
        """
        answered = [completion for completion in completions if completion.error is None]
        for segment, stored in self._store(answered).items():
            self._settle(stored, segment)
        failed = {c.request_id: _answer(c) for c in completions if c.error is not None}
        self._teacher.reject({name: str(answer.reason) for name, answer in failed.items()})
        self._finish_in_flight(completion.request_id for completion in completions)
        final = []
        for completion in completions:
            name = completion.request_id
            question = self._under_way.pop(name)
            self._calls.pop(name)
            if completion.retriable:
                self._to_ask_again[name] = question
                self._failures[name] += completion.error != ENGINE_DIED
            else:
                final.append(failed.get(name) or _answer(completion))
        self._keep_answers(final)

    def _store(self, completions: Iterable[Completion]) -> dict[str, list[Completion]]:
        """Write the answers that no engine has written; return all answers by segment."""
        by_segment: dict[str | None, list[Completion]] = {}
        for completion in completions:
            by_segment.setdefault(completion.segment, []).append(completion)
        return {
            self._teacher.store.append(some) if segment is None else segment: some
            for segment, some in by_segment.items()
        }

    def _settle(self, completions: Iterable[Completion], segment: str) -> None:
        """Send settlements to the ledger, and do not wait for it.

        After a crash, the ledger actor settles stored answers.
        """
        settlements = [
            Settle(c.request_id, reused=True)
            if self._teacher.config.recorded
            else Settle(c.request_id, c.prompt_tokens, c.completion_tokens)
            for c in completions
        ]
        self._unconfirmed.append(self._teacher.ledger.settle.remote(settlements, segment))
        if len(self._unconfirmed) > _MAX_UNCONFIRMED:
            result_of(self._unconfirmed.popleft())

    def _confirm_settlements(self) -> None:
        """Wait until the ledger has settled all; raise the error that it met, if any."""
        while self._unconfirmed:
            result_of(self._unconfirmed.popleft())

    def _keep_answers(self, answers: Iterable[Answer]) -> None:
        new = {answer.request_id: answer for answer in answers}
        self._answers |= new
        if new and self._on_answers:
            self._on_answers(len(new))

    # Runs that share the store

    def _begin_in_flight(self, questions: Mapping[str, Question]) -> Mapping[str, Question]:
        """Set aside the questions that another run is asking; return the others.

        The answers of the questions set aside will be in the store.
        """
        actor = self._teacher.store.in_flight
        if actor is None or self._teacher.config.recorded:
            return questions
        begin = actor.begin.remote(list(questions), self._id, self._teacher.ledger)
        elsewhere = set(result_of(begin))
        self._in_flight_elsewhere |= {name: questions[name] for name in elsewhere}
        return {name: question for name, question in questions.items() if name not in elsewhere}

    def _finish_in_flight(self, request_ids: Iterable[str]) -> None:
        """Let other runs ask these, or read their answers from the store."""
        if (actor := self._teacher.store.in_flight) is not None:
            actor.finish.remote(list(request_ids), self._id)

    def _leave_in_flight(self) -> None:
        """Let other runs ask whatever is still under way: this session asks no more."""
        if (actor := self._teacher.store.in_flight) is not None:
            actor.leave.remote(self._id)


def _answer(completion: Completion, rejected: str | None = None) -> Answer:
    """Turn a completion into an answer; `rejected` is an earlier rejection's reason."""
    name, error = completion.request_id, completion.error
    if error is not None:
        return Answer(name, "rejected", reason=error.partition(":")[0], failure=error)
    return Answer(
        name,
        "answered" if rejected is None else "rejected",
        without_thoughts(completion.text),
        reason=rejected,
        cut=completion.finish_reason == "length",
        thoughts=thoughts_of(completion.text),
    )
