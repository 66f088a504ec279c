"""The budget ledger of a run as a Ray actor with an append-only log on the run's storage.

`core.ledger` decides what is granted. This module makes each decision durable before anyone acts
on it. The log is a folder of numbered JSON-lines files (segments), one for each batch of entries.
Ray, after a crash, and a resumed run start the actor anew: it replays the log and goes on.

The log has one owner. A segment is written only if its number is free, and an owner begins with a
segment that says so. If another run had the folder and was only suspended, that number is taken
when it goes on: it gets no further decision, and ends.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from typing import Any

import ray

from baldistill.answers.store import ResponseStore
from baldistill.core.checked_lines import to_line
from baldistill.core.ledger import (
    Caps,
    Entry,
    Grants,
    Ledger,
    Own,
    Prices,
    Reject,
    Release,
    Reserve,
    Settle,
    to_record,
)
from baldistill.errors import UserError
from baldistill.generation.dispatcher import result_of
from baldistill.run_folder.ledger_log import read_log
from baldistill.storage import Storage


class DurableLedger:
    """The ledger, its log, and an index of the response store.

    In a run one actor owns it; tests of its crash safety use it without Ray.

    A caller gets no decision before the decision is durable. If the log cannot be written, the next
    call drops the ledger in memory and replays the log.
    """

    def __init__(
        self,
        log: Storage,
        store: ResponseStore,
        caps: Caps,
        prices: tuple[Prices, ...] = (),
        run: str | None = None,
    ) -> None:
        """Remember where the log is; the first call reads it, and gets the errors.

        The first call also settles the calls that were answered but not settled before a crash. The
        store may have answers of other runs too. Each teacher of a cascade has its prices. `run`
        names the start of a run, and is the same where Ray starts the actor anew.
        """
        self._log = log
        self._store = store
        self._caps = caps
        self._prices = prices
        self._me = Own(run or uuid.uuid4().hex, uuid.uuid4().hex)
        self._owns = False
        self._creates = True
        self._indexed: dict[str, int] = {}
        self._where: dict[str, str] = {}
        self._open: set[str] = set()
        self._current = self._recovered = False

    def refresh(self) -> None:
        """Index the segments that are new, or have grown, since the last call.

        A journal that has grown is read whole. It has 1 MiB at most, which takes some 5 ms.
        """
        found = self._store.segments().items()
        new = {name: size for name, size in found if self._indexed.get(name) != size}
        self._where.update(self._store.index(new))
        self._indexed.update(new)

    def reserve(
        self, requests: Sequence[Reserve], found_again: bool = False
    ) -> tuple[Grants, dict[str, str]]:
        """Grant what fits under the caps, durably; see `core.ledger.Ledger.reserve`.

        With `found_again`, the teacher's engine finds the calls that a crash left open. Asking for
        them again then counts no second call.

        Returns:
            The grants, and for each answered request the segment of the store that has the answer.
            An answer that another run paid for is granted as reused: no call, no cost.

        Raises:
            UserError: The store has lost answers that were paid for.
        """
        self._make_current()
        names = {asked.request_id for asked in requests}
        if not names <= self._where.keys():
            self.refresh()
        recovered = self._recover(names & self._open)
        stored = names & self._where.keys()
        uncounted = set(stored)
        if found_again:  # a failed call is "rejected", so that its retry counts as a second call
            uncounted |= {n for n in names & self._open if self._ledger.status(n) == "open"}
        grants = self._ledger.reserve(
            replace(asked, calls=0) if asked.request_id in uncounted else asked
            for asked in requests
        )
        reused = (set(grants.granted) & stored) - grants.settled
        where = {name: self._where[name] for name in reused}
        settled = self._ledger.settle(_settlements(self._store, where, reused=True))
        self._append([*recovered, *grants.entries, *settled])
        self._open.update(entry.request_id for entry in grants.entries if entry.calls)
        answered = reused | grants.settled | grants.rejected.keys()
        if lost := answered - stored:
            raise UserError(
                f"{len(lost)} answers that this run paid for are not in {self._store.storage.uri}: "
                "resume it with the response store that it began with"
            )
        # the entries are durable now: the caller does not need them
        return replace(grants, entries=()), {name: self._where[name] for name in answered}

    def settle(self, settlements: Sequence[Settle], segment: str) -> None:
        """Record the cost of answers that now stand in `segment`."""
        self._make_current()
        self._append(self._ledger.settle(settlements))
        self._indexed.setdefault(segment, 0)  # a journal may hold more, and is read when it grows
        self._where.update((entry.request_id, segment) for entry in settlements)
        self._open.difference_update(entry.request_id for entry in settlements)

    def reject(self, rejections: Sequence[Reject]) -> None:
        """Give back the units of answers that became no example."""
        self._make_current()
        self._append(self._ledger.reject(rejections))

    def release(self, releases: Sequence[Release]) -> None:
        """Take back calls that were certainly not charged."""
        self._make_current()
        self._append(self._ledger.release(releases))

    def release_unsent(self) -> None:
        """Take back the calls that a crash or an interruption left unsent.

        Whoever calls this knows that no engine is about to send one of them: at the start of a run,
        or when its engines have ended. The answers that were stored are settled first.
        """
        self._make_current()
        self.refresh()
        recovered = self._recover(self._open)
        unsent: list[Release] = []
        if releases := list(self._ledger.open_calls()):
            sent = self._store.sent()
            unsent = [entry for entry in releases if (entry.request_id, entry.call) not in sent]
        self._append([*recovered, *self._ledger.release(unsent)])

    def summary(self) -> dict[str, Any]:
        """Return what was spent and what remains, as JSON values."""
        self._make_current()
        return self._ledger.summary().to_dict()

    def _replay(self) -> None:
        names, entries = read_log(self._log)
        self._check_owner([entry for entry in entries if isinstance(entry, Own)])
        called = {e.request_id for e in entries if isinstance(e, Reserve) and e.calls}
        self._open = called - {e.request_id for e in entries if isinstance(e, Settle)}
        self._next = int(names[-1][:8]) + 1 if names else 0
        self._ledger = Ledger.replay(self._caps, entries, self._prices)
        self._current = True

    def _check_owner(self, owners: Sequence[Own]) -> None:
        """Raise UserError if another run owns the log after this one, or a later actor of this."""
        began = any(owner.run == self._me.run for owner in owners)
        if (began and owners[-1].run != self._me.run) or (self._owns and owners[-1] != self._me):
            raise UserError(
                f"another run took over {self._log.uri} while this one was suspended or cut off: "
                "this one stops; what it paid for is kept"
            )

    def _own(self) -> None:
        """Take the log from its earlier owner, if there is one, by taking its next number."""
        self._creates = self._log.is_local or self._log.creates_once()
        while not self._owns:
            try:
                self._write([self._me])
                self._owns = True
            except FileExistsError:  # the earlier owner is still writing
                self._replay()

    def _recover(self, names: Set[str]) -> tuple[Settle, ...]:
        """Settle calls whose answers were stored, but whose caller died before settling them."""
        where = {name: self._where[name] for name in names if name in self._where}
        self._open -= where.keys()
        return self._ledger.settle(_settlements(self._store, where, reused=False))

    def _make_current(self) -> None:
        if not self._current:
            self._replay()
        if not self._owns:
            self._own()
        if not self._recovered:
            self.refresh()
            self._append(self._recover(self._open))
            self._recovered = True

    def _append(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        if not entries:
            return
        self._current = False
        try:
            self._write(entries)
        except FileExistsError:
            self._replay()  # raises if another run took over
            self._current = False
            raise
        self._current = True

    def _write(self, entries: Iterable[Entry]) -> None:
        """Write the next segment, unless another owner has written one of this number.

        Raises:
            FileExistsError: Another owner has.
        """
        data = b"".join(to_line(to_record(entry)) for entry in entries)
        name = f"{self._next:08d}"
        try:
            if not self._creates:
                raise io.UnsupportedOperation
            self._log.create(f"{name}.jsonl", data)
        except io.UnsupportedOperation:
            # Two owners cannot be told apart here. At least neither overwrites the other's entries.
            self._log.write_bytes(f"{name}-{self._me.process[:8]}.jsonl", data)
        self._next += 1


def _settlements(store: ResponseStore, where: dict[str, str], *, reused: bool) -> list[Settle]:
    return [
        Settle(name, answer.prompt_tokens, answer.completion_tokens, reused=reused)
        for name, answer in store.read(where).items()
    ]


def start_ledger(
    log: Storage, store: ResponseStore, caps: Caps, prices: tuple[Prices, ...] = ()
) -> Any:
    """Start the ledger's actor at the start of a run, before any engine is asked.

    The calls that an earlier start of the run reserved and did not send are taken back.

    Ray restarts a dead actor wherever there is room, and repeats the calls that its death
    interrupted. The transitions of the ledger are idempotent, so a repeated call changes nothing.
    """
    remote = ray.remote(DurableLedger).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    ledger = remote.remote(log, store, caps, prices, uuid.uuid4().hex)
    result_of(ledger.release_unsent.remote())
    return ledger
