"""Settle calls that got no answer, because an engine died, stopped, or was interrupted.

A call that was certainly not sent is given back to the ledger. A call that may have been sent stays
on it, and its request is asked again as a further call.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError

from baldistill.answers.completion import Completion
from baldistill.core.ledger import Release
from baldistill.errors import UserError
from baldistill.generation.pool import result_of
from baldistill.generation.types import Request

if TYPE_CHECKING:
    from baldistill.teacher.teacher import Teacher

ENGINE_DIED = "engine died"
"""The error of a request whose call may have been sent by an engine that died."""

# A request gets no answer after so many engines have died with the request in flight. An engine
# that only waits for a server seldom dies of a prompt, and many innocent requests are in flight
# each time. Where no note tells these from others (engines of a server without a response store),
# every request of a batch counts as in flight, and fewer deaths end it. An engine with the model in
# its own process sends nothing: `generation/dispatcher.py` stops the work when it dies too often.
_MOST_DEATHS, _MOST_DEATHS_OF_CLIENTS = 4, 10
_INTERRUPTED_SECONDS = 3.0  # for engines to end, then for the ledger; SIGTERM ends us after 2 s


class UnfinishedCalls:
    """Settles the unfinished calls of one `Teacher.ask`."""

    def __init__(self, teacher: Teacher) -> None:
        """Begin without a death."""
        self._teacher = teacher
        self._deaths: Counter[str] = Counter()  # of engines that had sent a request

    def of_dead_engine(self, requests: Sequence[Request]) -> list[Completion | None]:
        """Return what is known of the requests of a dead engine; None where nothing was sent.

        An answer that the engine had written is taken from its journal. Another request that it may
        have sent may have been charged, so it has failed. The Batch API finds such requests again.
        """
        store, notes_calls = self._teacher.store, self._teacher.pool.notes_calls
        most = _MOST_DEATHS_OF_CLIENTS if notes_calls else _MOST_DEATHS
        known = store.read_journals({request.request_id for request in requests})
        if not self._teacher.config.finds_again:
            sent = store.sent() if notes_calls else None
            for request in requests:
                name = request.request_id
                if name not in known and (sent is None or (name, request.call) in sent):
                    self._deaths[name] += 1
                    again = self._deaths[name] < most
                    known[name] = Completion.failed(name, ENGINE_DIED, retriable=again)
        return [known.get(request.request_id) for request in requests]

    def release_unsent(self, calls: Mapping[str, str], charged: Iterable[Request]) -> None:
        """Give back calls, by request id, except charged calls that may have been sent."""
        sent = self._teacher.store.sent() if self._teacher.pool.notes_calls else None
        spent = {
            request.request_id
            for request in charged
            if sent is None or (request.request_id, request.call) in sent
        }
        releases = [Release(name, call) for name, call in calls.items() if name not in spent]
        result_of(self._teacher.ledger.release.remote(releases))

    def release_interrupted(self) -> None:
        """End the engines, and give back what they have not sent.

        If engines and ledger are too slow for that, the next start of the run does it.
        """
        with contextlib.suppress(RayError, UserError):
            if self._teacher.pool.kill_and_wait(_INTERRUPTED_SECONDS):
                released = self._teacher.ledger.release_unsent.remote()
                ray.get(released, timeout=_INTERRUPTED_SECONDS)
