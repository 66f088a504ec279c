"""Spread batches over engines of which some are still starting, and some die."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayActorError, RayTaskError

from baldistill.errors import UserError
from baldistill.generation import notices
from baldistill.generation.engine import EngineDiedError, EngineStoppedError, WorkStoppedError
from baldistill.generation.model_ref import ModelRef

Kept: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""What an engine that died has left of its rows; None for each that is to be done again."""

_MOST_DEATHS = 4  # of engines that had the same batch
_GATHER_SECONDS = 0.2  # for engines that only have to say that they are ready
_HAND_OVER_EVERY = 0.2  # seconds: what is made durable each time is a file of its own


@dataclass(frozen=True, slots=True)
class Call:
    """A batch for an engine.

    Attributes:
        numbers: Of its rows.
        method: The actor's.
        rows: What the method is given, beside the model.
        options: Further arguments.
        deaths: Engines that had it and died.
    """

    numbers: Sequence[int]
    method: str
    rows: Sequence[Any]
    options: tuple[Any, ...] = ()
    deaths: int = 0

    def only(self, places: Sequence[int]) -> Call:
        """The same for some of its rows."""
        numbers, rows = [self.numbers[i] for i in places], [self.rows[i] for i in places]
        return replace(self, numbers=numbers, rows=rows)


@dataclass(slots=True, eq=False)
class _Life:
    """An engine from being ready until it dies, and how many rows it has."""

    actor: Any
    rows: int = 0


class Dispatcher:
    """One piece of work for a pool.

    An engine takes part as soon as it has the model in memory. When one dies, Ray restarts it
    (elsewhere, if its node is gone), the others do its batches, and it joins again when it is
    ready. Engines that the cluster has no room for yet join when its autoscaler has brought some.

    An engine may answer a call with some of its rows and say None for those that go on in it. They
    are asked for again at once, there; so no answer waits for the slowest of its batch.
    """

    def __init__(
        self,
        actors: Sequence[Any],
        model: ModelRef,
        most_rows: int,
        kept: Kept,
    ) -> None:
        """Nothing runs yet.

        Args:
            actors: Handles of `EngineActor`s.
            model: What they answer with.
            most_rows: An engine that has as many is given no more.
            kept: Asked when an engine has died.
        """
        self._actors = actors
        self._model = model
        self._most_rows = most_rows
        self._kept = kept
        self._again: deque[Call] = deque()
        self._ready: list[_Life] = []
        self._warming: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Call, _Life]] = {}
        self._stop: UserError | None = None
        self._rows: list[tuple[int, Any]] = []  # answered, and not handed over
        self._due = 0.0
        self._charged: list[Any] = []  # rows without an answer that may be paid for
        self._notices = notices.Notices(actors)

    def run(self, calls: Iterator[Call]) -> Iterator[list[tuple[int, Any]]]:
        """Run calls.

        Yields the rows, with their numbers, that were answered since the last time, five times a
        second at most: whoever makes them durable does so once for all.

        Args:
            calls: Drawn only when an engine can take one.

        Raises:
            WorkStoppedError: An engine cannot go on, or a batch kills whatever engine has it.
            UserError: An engine cannot load the model.
        """
        first = next(calls, None)
        if first is None:
            return
        self._again.append(first)
        for actor in self._actors:
            self._warm(actor)
        ray.wait(list(self._warming), num_returns=len(self._warming), timeout=_GATHER_SECONDS)
        while self._running or (self._again and self._stop is None):
            for done in self._ended():
                self._rows += self._end(done)
            self._join()
            if self._stop is None:
                self._feed(calls)
            if self._rows and time.monotonic() >= self._due:
                yield self._handed_over()
            self._notices.tell()
        if self._rows:
            yield self._handed_over()
        if self._stop is not None:
            died = [row for call in self._again if call.deaths for row in call.rows]
            raise WorkStoppedError(str(self._stop), [*self._charged, *died])

    def _handed_over(self) -> list[tuple[int, Any]]:
        rows, self._rows = self._rows, []
        self._due = time.monotonic() + _HAND_OVER_EVERY
        return rows

    def _ended(self) -> list[Any]:
        """Calls that have ended; none where an engine got ready, or where it takes long."""
        longest = notices.NOTICE_EVERY
        if self._rows:
            longest = min(longest, max(0.0, self._due - time.monotonic()))
        ray.wait([*self._warming, *self._running], num_returns=1, timeout=longest)
        running = list(self._running)
        if not running:
            return []
        ended: list[Any] = ray.wait(running, num_returns=len(running), timeout=0)[0]
        return ended

    def _warm(self, actor: Any) -> None:
        self._warming[actor.warm.remote(self._model)] = actor

    def _join(self) -> None:
        """Take in all engines that are ready, so that each gets its share."""
        if not self._warming:
            return
        warming = list(self._warming)
        told, _ = ray.wait(warming, num_returns=len(warming), timeout=0)
        for done in told:
            actor = self._warming.pop(done)
            try:
                result_of(done)
            except (RayActorError, EngineDiedError) as error:
                if not (self._ready or self._warming):
                    raise self._died(error) from None
                continue  # gone for good: the others do its work
            self._ready.append(_Life(actor))

    def _feed(self, calls: Iterator[Call]) -> None:
        """Give calls to the engines that have the fewest rows, until all have enough."""
        while self._ready:
            life = min(self._ready, key=lambda life: life.rows)
            if life.rows >= self._most_rows:
                return
            call = self._again.popleft() if self._again else next(calls, None)
            if call is None:
                return
            self._give(call, life)

    def _give(self, call: Call, life: _Life) -> None:
        method = getattr(life.actor, call.method)
        self._running[method.remote(self._model, packed(call.rows), *call.options)] = call, life
        life.rows += len(call.rows)

    def _end(self, done: Any) -> list[tuple[int, Any]]:
        """The rows of a call that have their answer, numbered; the others are asked for again."""
        call, life = self._running.pop(done)
        life.rows -= len(call.rows)
        stop: EngineStoppedError | None = None
        try:
            results = unpacked(result_of(done))
        except EngineStoppedError as error:
            stop, results = error, error.answered
        except (RayActorError, EngineDiedError) as error:
            if life in self._ready:  # the first that is heard of it
                self._ready.remove(life)
                if isinstance(error, EngineDiedError):
                    ray.kill(life.actor, no_restart=False)
                self._warm(life.actor)
            return self._redo(call, error)
        pending = [place for place, result in enumerate(results) if result is None]
        if stop is not None:
            self._stop = self._stop or stop
            if stop.charged or call.deaths:
                self._charged += call.only(pending).rows
        elif pending:
            self._give(call.only(pending), life)
        return _answered(call, results)

    def _redo(self, call: Call, error: Exception) -> list[tuple[int, Any]]:
        """Have another engine do what one died of, but for the rows that it has left.

        Too many deaths stop the work.
        """
        results = self._kept(call.rows)
        pending = [place for place, result in enumerate(results) if result is None]
        if pending:
            if call.deaths + 1 == _MOST_DEATHS:
                self._stop = self._stop or self._died(error)
            self._again.append(replace(call.only(pending), deaths=call.deaths + 1))
        return _answered(call, results)

    def _died(self, error: Exception) -> UserError:
        return UserError(
            f"an engine for {self._model.name!r} died again and again: {error}. Lower "
            "resources.batch_size, or give the replica more memory."
        )


def nothing_kept(rows: Sequence[Any]) -> Sequence[None]:
    """Of an engine whose results are lost with it."""
    return [None] * len(rows)


def _answered(call: Call, results: Sequence[Any]) -> list[tuple[int, Any]]:
    answered = zip(call.numbers, results, strict=True)
    return [(number, row) for number, row in answered if row is not None]


def packed(rows: Sequence[Any]) -> bytes:
    """Rows on their way between two processes.

    Ray keeps each array apart, so that a large one need not be copied; for rows of some tens of
    tokens that takes three times as long as copying them.
    """
    return pickle.dumps(rows, protocol=5)


def unpacked(rows: bytes) -> Sequence[Any]:
    """What `packed` was given."""
    return pickle.loads(rows)  # type: ignore[no-any-return]


def result_of(reference: Any) -> Any:
    """`ray.get`, with an actor's own errors as they were raised there."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError | EngineDiedError):
            raise error.cause from None
        raise
