"""Decide when the next request goes out, by slots, rates, and waits that a server asks for."""

from __future__ import annotations

import asyncio
import email.utils
import heapq
import itertools
import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

_BURST_S = 1.0  # seconds of the rate that may go out at once: servers count by the second, too
_LONGEST_WAIT_S = 1e9
_BACKOFF_S = 0.5
_BACKOFF_MAX_S = 30.0


class Rate:
    """A token bucket that lends: callers learn how long to wait, in the order of their calls.

    Pure: the time is an argument.
    """

    def __init__(self, per_minute: float) -> None:
        """Start full."""
        self._per_second = per_minute / 60
        self._capacity = max(1.0, self._per_second * _BURST_S)
        self._level = self._capacity
        self._then = -math.inf

    def take(self, amount: float, now: float) -> float:
        """Take an amount, also more than is there; return how many seconds to wait for it."""
        self._fill(now)
        # An amount above the capacity waits for a full bucket only.
        missing = min(amount, self._capacity) - self._level
        self._level -= amount
        return max(0.0, missing / self._per_second)

    def give_back(self, amount: float, now: float) -> None:
        """Return an unused amount; a negative amount takes an excess."""
        self._fill(now)
        self._level = min(self._capacity, self._level + amount)

    def _fill(self, now: float) -> None:
        flowed = max(0.0, now - self._then) * self._per_second
        self._level = min(self._capacity, self._level + flowed)
        self._then = max(self._then, now)


class Slots:
    """Slots for requests in flight, given to the oldest row that waits.

    So a row that was refused and asks again does not wait behind all later rows.
    """

    def __init__(self, count: int) -> None:
        """Start with `count` free slots."""
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @asynccontextmanager
    async def hold(self, age: int) -> AsyncIterator[None]:
        """Hold a slot while the block runs; a lower age is older."""
        if self._free > 0:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (age, next(self._order), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # the slot had just been given
                    self._release()
                raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a refusal asks to wait; None if it does not say.

    The header is `retry-after-ms`, or `retry-after` as seconds or as an HTTP date; `now` is in
    seconds since the epoch.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return min(_LONGEST_WAIT_S, max(0.0, seconds))
    try:
        date = email.utils.parsedate_to_datetime(headers["retry-after"])
        return min(_LONGEST_WAIT_S, max(0.0, date.timestamp() - now))
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def backoff(failures: int) -> float:
    """Return the seconds to wait after some failures: doubling, with random jitter."""
    longest = min(_BACKOFF_MAX_S, _BACKOFF_S * 2.0 ** min(failures - 1, 16))
    return longest * random.uniform(0.75, 1.0)
