"""Requests that runs side by side are asking now, if the runs share a response store.

The store spares a run the calls that another run has paid for. This actor spares a run the calls
that another run is waiting for. One actor serves all runs of a comparison or a sweep. The actor
knows no budgets and keeps nothing durably. If it is lost, a run may make a call that another run
makes, too; nothing worse can happen.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError

_CHECK_EVERY = 5.0  # seconds between two checks whether a session's run is alive
_CHECK_TIMEOUT = 1.0  # seconds; a ledger that does not answer within this time is busy, not dead


class InFlight:
    """The session that asks each request: the first session that began it. Others wait."""

    def __init__(self) -> None:
        """Begin with no request in flight."""
        self._sessions: dict[str, str] = {}  # by request id
        self._ledgers: dict[str, Any] = {}  # by session
        self._checked: dict[str, float] = {}  # when each session was last checked

    def begin(self, request_ids: Sequence[str], session: str, ledger: Any) -> list[str]:
        """Enter requests; return those that another session is asking, which are not entered.

        `ledger` is the handle of the ledger of the session's run, which dies with the run.
        """
        asking = {self._sessions[name] for name in request_ids if name in self._sessions}
        for other in asking - {session}:
            if self._is_dead(other):
                self.leave(other)
        elsewhere = [name for name in request_ids if self._sessions.get(name, session) != session]
        self._sessions.update(dict.fromkeys(set(request_ids).difference(elsewhere), session))
        self._ledgers[session] = ledger
        return elsewhere

    def finish(self, request_ids: Iterable[str], session: str) -> None:
        """Remove requests of a session that are answered, or not asked after all."""
        for name in request_ids:
            if self._sessions.get(name) == session:
                del self._sessions[name]

    def leave(self, session: str) -> None:
        """Remove all requests of a session that asks no more."""
        self._sessions = {name: who for name, who in self._sessions.items() if who != session}
        self._ledgers.pop(session, None)
        self._checked.pop(session, None)

    def _is_dead(self, session: str) -> bool:
        """Return whether the ledger of a session has died; check it every few seconds at most."""
        now = time.monotonic()
        if now < self._checked.get(session, 0.0) + _CHECK_EVERY:
            return False
        self._checked[session] = now
        ready = self._ledgers[session].__ray_ready__.remote()
        answered, _ = ray.wait([ready], timeout=_CHECK_TIMEOUT)
        try:
            ray.get(answered)
        except ActorDiedError:  # an actor that is merely out of reach raises another error
            return True
        return False


def start_in_flight() -> Any:
    """Start the actor; it ends with the last handle."""
    remote = ray.remote(InFlight).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return remote.remote()
