"""Spread batches over engines of which some are still starting, and some die."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from baldistill.errors import UserError
from baldistill.generation import notices
from baldistill.generation.protocol import EngineDiedError, EngineStoppedError, ModelRef

_MOST_DEATHS = 4  # of engines that had the same batch
_GATHER_SECONDS = 0.2  # for engines that only have to say that they are ready


@dataclass(frozen=True, slots=True)
class Call:
    """A batch for an engine: the numbers of its rows, the actor's method, its arguments."""

    numbers: Sequence[int]
    method: str
    arguments: tuple[Any, ...]
    deaths: int = 0


@dataclass(slots=True, eq=False)
class _Life:
    """An engine from being ready until it dies."""

    actor: Any
    calls: int = 0


class Scatter:
    """One piece of work for a pool.

    An engine takes part as soon as it has the model in memory. When one dies, Ray restarts it
    (elsewhere, if its node is gone), the others do its batches, and it joins again when it is
    ready. Engines that the cluster has no room for yet join when its autoscaler has brought some.
    """

    def __init__(self, actors: Sequence[Any], model: ModelRef, threads: int) -> None:
        """Nothing runs yet.

        Args:
            actors: Handles of `EngineActor`s.
            model: What they answer with.
            threads: Batches that each works on at the same time; one more waits on it.
        """
        self._actors = actors
        self._model = model
        self._most = threads + 1
        self._again: deque[Call] = deque()
        self._ready: list[_Life] = []
        self._warming: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Call, _Life]] = {}
        self._stop: EngineStoppedError | None = None
        self._notices = notices.Notices(actors)

    def run(self, calls: Iterator[Call]) -> Iterator[list[tuple[int, Any]]]:
        """Run calls.

        Yields the rows, with their numbers, of all calls that have ended since the last time:
        whoever makes them durable does so once for all, however small the batches are.

        Args:
            calls: Drawn only when an engine can take one.

        Raises:
            UserError: An engine cannot load the model or cannot go on, or batches kill whatever
                engine has them.
        """
        first = next(calls, None)
        if first is None:
            return
        self._again.append(first)
        for actor in self._actors:
            self._warm(actor)
        ray.wait(list(self._warming), num_returns=len(self._warming), timeout=_GATHER_SECONDS)
        while self._running or (self._again and self._stop is None):
            rows = [row for done in self._ended() for row in self._end(done)]
            self._join()
            if self._stop is None:
                self._feed(calls)
            if rows:
                yield rows
            self._notices.tell()
        if self._stop is not None:
            raise UserError(str(self._stop))

    def _ended(self) -> list[Any]:
        """Calls that have ended; none where an engine got ready, or where it takes long."""
        ray.wait([*self._warming, *self._running], num_returns=1, timeout=notices.NOTICE_EVERY)
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
        """Give calls to the engines that have the fewest, until all have enough."""
        while self._ready:
            life = min(self._ready, key=lambda life: life.calls)
            if life.calls == self._most:
                return
            call = self._again.popleft() if self._again else next(calls, None)
            if call is None:
                return
            reference = getattr(life.actor, call.method).remote(*call.arguments)
            self._running[reference] = call, life
            life.calls += 1

    def _end(self, done: Any) -> list[tuple[int, Any]]:
        """The rows of a call, numbered; none where its engine died: it is to be done again."""
        call, life = self._running.pop(done)
        life.calls -= 1
        try:
            return list(zip(call.numbers, result_of(done), strict=True))
        except EngineStoppedError as error:
            self._stop = self._stop or error
            answered = zip(call.numbers, error.answered, strict=True)
            return [(number, row) for number, row in answered if row is not None]
        except (RayActorError, EngineDiedError) as error:
            if call.deaths + 1 == _MOST_DEATHS:
                raise self._died(error) from None
            self._again.append(replace(call, deaths=call.deaths + 1))
            if life in self._ready:  # the first that is heard of it
                self._ready.remove(life)
                if isinstance(error, EngineDiedError):
                    ray.kill(life.actor, no_restart=False)
                self._warm(life.actor)
            return []

    def _died(self, error: Exception) -> UserError:
        return UserError(
            f"an engine for {self._model.name!r} died again and again: {error}. Lower "
            "resources.batch_size, or give the replica more memory."
        )


def result_of(reference: Any) -> Any:
    """`ray.get`, with an actor's own errors as they were raised there."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError | EngineDiedError):
            raise error.cause from None
        raise
