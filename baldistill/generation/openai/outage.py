"""A server that is away, or refuses all requests: they wait together, for a limited time."""

from __future__ import annotations

import asyncio
import time

from baldistill.errors import UserError
from baldistill.generation.openai.faults import Fault
from baldistill.generation.openai.limits import backoff

_REFUSALS = 8  # in a row: the server may be down
_PROBE_EVERY = 5.0  # seconds at most, unless the server asks for more
_LOST_ROWS = 10  # given up in a row: the engine stops


class Outage:
    """Record of whether a server answers. Not thread-safe: a record belongs to one event loop.

    Attributes:
        answers: How many rows were answered, or refused for their content.
        in_flight: Requests that wait for the server.
    """

    def __init__(self, server: str, patience: float) -> None:
        """Assume that the server is there; `patience` is in seconds without any answer."""
        self._server, self._patience = server, patience
        self.answers = 0
        self.in_flight = 0
        self._back = asyncio.Event()
        self._since: float | None = None  # first refusal after the last answer
        self._refusals = 0
        self._lost_rows = 0
        self._next_probe = 0.0
        self._stopping = False
        self._last: Fault | None = None

    @property
    def is_down(self) -> bool:
        """Return whether the server answers no request.

        A server with more requests in flight than refusals since its last answer is only busy: of
        many requests that are sent at once it refuses some, and answers them later.
        """
        return self._refusals >= max(_REFUSALS, self.in_flight)

    def wake(self) -> None:
        """Let all waiting requests go on, because the engine stops."""
        self._stopping = True
        self._back.set()

    def resume(self) -> None:
        """Forget earlier refusals, because the engine starts, maybe again."""
        self._stopping = False
        self._refusals = self._lost_rows = 0
        self._since = None

    async def over(self) -> None:
        """Wait until the server is back, or until it is this request's turn to try.

        Raises:
            UserError: The server was away too long.
        """
        while self.is_down and not self._stopping:
            self._check_patience()
            now = time.monotonic()
            if now >= self._next_probe:
                self._next_probe = now + _PROBE_EVERY
                return
            self._back.clear()
            try:
                async with asyncio.timeout(self._next_probe - now):
                    await self._back.wait()
            except TimeoutError:
                continue

    def answered(self) -> None:
        """Note that the server answered a row, or refused it for its content."""
        self.answers += 1
        self._refusals = self._lost_rows = 0
        self._since = None
        self._back.set()

    def refused(self, fault: Fault, times: int) -> float:
        """Note a refusal of this request; return the seconds to wait.

        `times` is how often this request was refused by now.

        Raises:
            UserError: The server was away too long, or asks for a wait beyond that.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        self._last = fault
        self._refusals += 1
        times = self._refusals if self.is_down else times
        wait = max(fault.wait or 0.0, min(_PROBE_EVERY, backoff(times)))
        self._check_patience(max(fault.wait or 0.0, 0.0))
        self._next_probe = now + wait
        return wait

    def row_lost(self, fault: Fault) -> None:
        """Note a row given up without a verdict on its content.

        Raises:
            UserError: No row is answered.
        """
        self._lost_rows += 1
        if self._lost_rows >= _LOST_ROWS:
            raise UserError(
                f"{self._server} answered none of the last {self._lost_rows} rows: {fault}. Try "
                "one request by hand; once it is answered, the same command goes on from here"
            )

    def notice(self) -> str:
        """Return what to tell the user; empty if the server is there."""
        if not self.is_down or self._since is None:
            return ""
        return (
            f"{self._server} has not answered for {time.monotonic() - self._since:.0f} s "
            f"({self._last}); trying again until patience_s={self._patience:g} have passed"
        )

    def _check_patience(self, more: float = 0.0) -> None:
        away = 0.0 if self._since is None else time.monotonic() - self._since
        if away + more > self._patience:
            asked = f" and asks to wait {more:.0f} s more" if more else ""
            raise UserError(
                f"{self._server} has not answered for {away:.0f} s{asked}, longer than "
                f"teacher.patience_s={self._patience:g} allows: {self._last}. When it is back, "
                "the same command goes on from here; what was answered is kept"
            )
