"""Spread batches over engines of which some are still starting, and some die."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayActorError, RayTaskError

from baldistill.errors import UserError
from baldistill.generation import watch
from baldistill.generation.engine import EngineDiedError, EngineStoppedError, WorkStoppedError
from baldistill.generation.types import ModelRef

SavedAnswers: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""Returns what is known of the rows of a dead engine: answers that it had saved, and failures of
rows that it may have been charged for. The rows with None are given to another engine."""

OnProgress: TypeAlias = Callable[[int, str], None]
"""Called every second and at the end, with the number of ended rows that were not handed over yet,
and with the engines' status before the first row ends (empty after that)."""

_MOST_DEATHS = 4  # per batch; then the work stops
_GATHER_SECONDS = 0.2  # to wait for engines that already hold the model
_HAND_OVER_EVERY = 0.2  # seconds: the caller writes a file for each


@dataclass(frozen=True, slots=True)
class Call:
    """A batch for an engine.

    Attributes:
        numbers: Row numbers.
        method: Actor method.
        rows: The method's second argument; the first is the model.
        options: Further arguments.
        deaths: How many engines in a row died with this batch before they answered a row of it.
    """

    numbers: Sequence[int]
    method: str
    rows: Sequence[Any]
    options: tuple[Any, ...] = ()
    deaths: int = 0

    def only(self, places: Sequence[int]) -> Call:
        """Return the call for some of its rows; if others were answered, it kills no engine."""
        numbers, rows = [self.numbers[i] for i in places], [self.rows[i] for i in places]
        deaths = self.deaths if len(rows) == len(self.rows) else 0
        return replace(self, numbers=numbers, rows=rows, deaths=deaths)


@dataclass(slots=True, eq=False)
class _ReadyEngine:
    """An engine with the model in memory, until it dies.

    Attributes:
        place: Index into the pool's actors.
        num_rows: Rows that the engine was given and has not returned.
    """

    place: int
    num_rows: int = 0


@dataclass(slots=True)
class _Running:
    """A call under way, and how many of its rows are known to have ended."""

    call: Call
    engine: _ReadyEngine
    num_ended: int = 0


class Dispatcher:
    """One piece of work for a pool.

    An engine takes part as soon as it has the model in memory. When an engine dies, the other
    engines do its batches. Ray restarts the engine, on another node if need be, and it joins again
    when it is ready. An engine for which the cluster has no room yet joins later.

    An engine may answer some rows of a call and return None for those that are still under way. The
    dispatcher asks the same engine for these rows again at once, so that no answer waits for the
    slowest row of its batch.
    """

    def __init__(
        self,
        actors: Sequence[Any],
        model: ModelRef,
        most_rows: int,
        saved_answers: SavedAnswers,
        on_progress: OnProgress | None,
    ) -> None:
        """Prepare; nothing runs yet. An engine that has `most_rows` is given no more."""
        self._actors = actors
        self._model = model
        self._most_rows = most_rows
        self._saved_answers = saved_answers
        self._on_progress = on_progress
        self._again: deque[Call] = deque()
        self._ready: list[_ReadyEngine] = []
        self._loading: dict[Any, int] = {}
        self._running: dict[Any, _Running] = {}
        self._stop: UserError | None = None
        self._rows: list[tuple[int, Any]] = []  # answered, and not handed over
        self._next_hand_over = 0.0
        self._any_ended = False
        self._charged: list[Any] = []  # rows without an answer that may be paid for
        self._watch = watch.Watch(actors)

    def run(self, calls: Iterator[Call]) -> Iterator[list[tuple[int, Any]]]:
        """Run calls; yield their rows, each with its number, as they are answered.

        Rows are handed over together, five times a second at most, so that a caller who makes them
        durable writes few files. A call is drawn only when an engine can take it.

        Raises:
            WorkStoppedError: An engine cannot go on, or a batch kills every engine that has it.
            UserError: An engine cannot load the model.
        """
        first = next(calls, None)
        if first is None:
            return
        self._again.append(first)
        for place in range(len(self._actors)):
            self._load(place)
        ray.wait(list(self._loading), num_returns=len(self._loading), timeout=_GATHER_SECONDS)
        while self._running or (self._again and self._stop is None):
            for reference in self._ended_calls():
                self._rows += self._end(reference)
            self._join()
            if self._stop is None:
                self._feed(calls)
            if self._rows and time.monotonic() >= self._next_hand_over:
                yield self._hand_over()
            if self._watch.look():
                self._report_progress()
        if self._rows:
            yield self._hand_over()
        self._report_progress()
        if self._stop is not None:
            raise WorkStoppedError(str(self._stop), self._charged)

    def _hand_over(self) -> list[tuple[int, Any]]:
        rows, self._rows = self._rows, []
        self._any_ended = True
        self._next_hand_over = time.monotonic() + _HAND_OVER_EVERY
        return rows

    def _report_progress(self) -> None:
        if self._on_progress is None:
            return
        for reference, running in self._running.items():
            ended = self._watch.reports[running.engine.place].ended
            # An engine forgets a call when it ends, which may be before its result is here.
            running.num_ended = max(running.num_ended, ended.get(reference.task_id().hex(), 0))
        num_ended = len(self._rows) + sum(r.num_ended for r in self._running.values())
        self._any_ended = self._any_ended or num_ended > 0
        self._on_progress(num_ended, self._status())

    def _status(self) -> str:
        """Say what the engines are doing instead of answering; empty once rows have ended."""
        if self._ready or not self._loading:
            return "" if self._any_ended else "first answers under way"
        statuses = [self._watch.reports[place].status for place in self._loading.values()]
        return next(filter(None, statuses), "")

    def _ended_calls(self) -> list[Any]:
        """Return the ended calls; wait for one, or for a ready engine, at most a second."""
        longest = watch.ASK_EVERY
        if self._rows:
            longest = min(longest, max(0.0, self._next_hand_over - time.monotonic()))
        ray.wait([*self._loading, *self._running], num_returns=1, timeout=longest)
        return _ready(self._running)

    def _load(self, place: int) -> None:
        self._loading[self._actors[place].load.remote(self._model)] = place

    def _join(self) -> None:
        """Take in all engines that have loaded the model, so that each gets its share."""
        for reference in _ready(self._loading):
            place = self._loading.pop(reference)
            try:
                result_of(reference)
            except (RayActorError, EngineDiedError) as error:
                if not (self._ready or self._loading):
                    raise self._died(error) from None
                continue  # gone for good: the others do its work
            self._ready.append(_ReadyEngine(place))

    def _feed(self, calls: Iterator[Call]) -> None:
        """Give calls to the engines that have the fewest rows, until all have enough."""
        while self._ready:
            engine = min(self._ready, key=lambda engine: engine.num_rows)
            if engine.num_rows >= self._most_rows:
                return
            call = self._again.popleft() if self._again else next(calls, None)
            if call is None:
                return
            self._give(call, engine)

    def _give(self, call: Call, engine: _ReadyEngine) -> None:
        method = getattr(self._actors[engine.place], call.method)
        reference = method.remote(self._model, to_bytes(call.rows), *call.options)
        self._running[reference] = _Running(call, engine)
        engine.num_rows += len(call.rows)

    def _end(self, reference: Any) -> list[tuple[int, Any]]:
        """Return the answered rows of a call with their numbers; ask for the others again."""
        running = self._running.pop(reference)
        call, engine = running.call, running.engine
        engine.num_rows -= len(call.rows)
        stop: EngineStoppedError | None = None
        try:
            results = from_bytes(result_of(reference))
        except EngineStoppedError as error:
            stop, results = error, error.answered
        except (RayActorError, EngineDiedError) as error:
            if engine in self._ready:  # this call is the first to notice
                self._ready.remove(engine)
                if isinstance(error, EngineDiedError):
                    ray.kill(self._actors[engine.place], no_restart=False)
                self._load(engine.place)
            return self._redo(call, error)
        pending = [place for place, result in enumerate(results) if result is None]
        if stop is not None:
            self._stop = self._stop or stop
            if stop.charged:
                self._charged += call.only(pending).rows
        elif pending:
            self._give(call.only(pending), engine)
        return _answered(call, results)

    def _redo(self, call: Call, error: Exception) -> list[tuple[int, Any]]:
        """Return the answers that a dead engine had saved; queue the other rows again.

        Too many deaths stop the work.
        """
        results = self._saved_answers(call.rows)
        pending = [place for place, result in enumerate(results) if result is None]
        if pending:
            left = call.only(pending)
            if left.deaths + 1 == _MOST_DEATHS:
                self._stop = self._stop or self._died(error)
            self._again.append(replace(left, deaths=left.deaths + 1))
        return _answered(call, results)

    def _died(self, error: Exception) -> UserError:
        return UserError(
            f"an engine for {self._model.name!r} died again and again: {error}. Lower "
            "resources.batch_size, or give the replica more memory."
        )


def no_saved_answers(rows: Sequence[Any]) -> Sequence[None]:
    """Serve as `SavedAnswers` for engines whose results are lost with them."""
    return [None] * len(rows)


def _ready(references: Iterable[Any]) -> list[Any]:
    """Return the references whose results are there."""
    waiting = list(references)
    return list(ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]) if waiting else []


def _answered(call: Call, results: Sequence[Any]) -> list[tuple[int, Any]]:
    answered = zip(call.numbers, results, strict=True)
    return [(number, row) for number, row in answered if row is not None]


def to_bytes(rows: Sequence[Any]) -> bytes:
    """Pickle rows that go from one process to another.

    Ray stores each array apart to avoid copies. For rows of some tens of tokens, copying takes a
    third of the time.
    """
    return pickle.dumps(rows, protocol=5)


def from_bytes(rows: bytes) -> Sequence[Any]:
    """Return what `to_bytes` was given."""
    return pickle.loads(rows)  # type: ignore[no-any-return]


def result_of(reference: Any) -> Any:
    """Call `ray.get`; raise an actor's own error as the actor raised it, without Ray's wrapping."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError | EngineDiedError):
            raise error.cause from None
        raise
