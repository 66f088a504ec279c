"""The budget ledger: reserve before the teacher is called, settle with its response.

Pure transitions in memory. The caller makes the returned entries durable *before* acting on them.
`Ledger.replay` of the durable entries gives the same ledger back. So nothing is granted past a
cap, whatever the number of workers and whenever a crash comes:

- an open reservation counts in full: its unit, its call, its bound on tokens and cost;
- a reservation that a crash left open stays spent if the call may have been made. Asking for it
  again costs another call, but no second unit;
- a call that was certainly not made is released: nothing of it counts any more. Calls have names,
  which are noted before they are made, so that this is known after a crash, too;
- a settled request costs nothing to ask for again: its answer is stored;
- a rejected request gives its unit back; its call and tokens stay spent. After the
  answer was seen, the rejection is final, so that a resumed run decides as the first run did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from baldistill.core.ledger_entries import (
    Caps,
    Entry,
    Own,
    Prices,
    Purpose,
    Reject,
    Release,
    Reserve,
    Settle,
    from_record,
    to_record,
)
from baldistill.core.ledger_requests import RequestFigures, each_request
from baldistill.core.ledger_state import LedgerState, Status
from baldistill.core.ledger_summary import LedgerSummary, SpentFigures, summarise
from baldistill.core.longtail import exact

__all__ = [
    "Caps",
    "Entry",
    "Grants",
    "Ledger",
    "LedgerSummary",
    "Own",
    "Prices",
    "Purpose",
    "Reject",
    "Release",
    "RequestFigures",
    "Reserve",
    "Settle",
    "SpentFigures",
    "Status",
    "from_record",
    "to_record",
]

Cap: TypeAlias = Literal["examples", "calls", "tokens", "cost"]


@dataclass(frozen=True, slots=True)
class Grants:
    """The answer to a batch of reservations.

    Attributes:
        granted: Ids that may go ahead, in the order asked; the settled ids are among them.
        settled: Granted ids whose answer is already there: do not call again.
        refused: Each id that would pass a cap, with this cap.
        rejected: Each id whose answer was rejected before, with the reason: do not ask again.
        entries: Entries to make durable before acting on these grants.
    """

    granted: tuple[str, ...]
    settled: frozenset[str]
    refused: dict[str, Cap]
    rejected: dict[str, str]
    entries: tuple[Reserve, ...]


@dataclass(slots=True)
class Ledger:
    """The state of the budget. Not thread-safe: one owner, such as an actor, serialises calls.

    Attributes:
        caps: The most that may be spent. If a resumed run has a cap below what is spent already,
            nothing more is granted, and nothing is taken back.
        prices: Prices of each teacher of a cascade, in order; without prices the cost is 0.
    """

    caps: Caps
    prices: tuple[Prices, ...] = ()
    _state: LedgerState = field(init=False, repr=False)
    _cost_cap: int | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start with nothing spent."""
        self._state = LedgerState(self.prices)
        cap = self.caps.cost
        self._cost_cap = None if cap is None else int(exact(cap) * self._state.money)

    @classmethod
    def replay(
        cls, caps: Caps, entries: Iterable[Entry], prices: tuple[Prices, ...] = ()
    ) -> Ledger:
        """Rebuild the ledger from its durable entries, in the order they were written.

        Args:
            caps: The caps from now on; they may differ from those of the earlier run.
            entries: Everything that was made durable.
            prices: Prices of each teacher, in the order of the tiers.

        Raises:
            ValueError: An entry's request was never reserved.
        """
        ledger = cls(caps, prices)
        for entry in entries:
            ledger._state.apply(entry)
        return ledger

    def reserve(self, requests: Iterable[Reserve]) -> Grants:
        """Grant what fits under every cap, in the order asked.

        A request named twice in one batch is one request. If two batches ask for it before it is
        settled, it counts as one unit and two calls, for both callers may call.

        Args:
            requests: The calls that the caller wants to make.

        Raises:
            ValueError: There is a cap on tokens or cost and a call comes without a bound; then
                nothing of the batch is granted.
        """
        batch = list(requests)
        self._check_bounds(batch)
        granted: dict[str, None] = {}
        settled: set[str] = set()
        refused: dict[str, Cap] = {}
        rejected: dict[str, str] = {}
        entries: list[Reserve] = []
        for asked in batch:
            name = asked.request_id
            earlier = self._state.requests.get(name)
            if name in granted or name in refused:
                continue
            if earlier and not earlier.answered and earlier.holds(asked.call):
                granted[name] = None  # the same reservation, sent again after a lost reply
                continue
            if earlier and earlier.answered and earlier.reason is not None:
                rejected[name] = earlier.reason
                continue
            if earlier and earlier.answered:
                settled.add(name)
                asked = replace(asked, calls=0, max_tokens=0, prompt_tokens=0)
            units = max(0, asked.units - (earlier.units if earlier else 0))
            cap = self._exceeded(units, asked)
            if cap is not None:
                refused[name] = cap
                settled.discard(name)
                continue
            granted[name] = None
            if name not in settled or units:
                self._state.apply(asked)
                entries.append(asked)
        return Grants(tuple(granted), frozenset(settled), refused, rejected, tuple(entries))

    def settle(self, settlements: Iterable[Settle]) -> tuple[Settle, ...]:
        """Record what calls really cost; return the settlements that were new.

        A request settled before is not settled again. If its answer was stored, an open
        reservation of an earlier, crashed run may be settled without reserving it again.

        Raises:
            ValueError: A request was never reserved, or reserved without a call and not reused;
                then nothing of the batch is recorded.
        """
        batch = list(settlements)
        for entry in batch:
            self._state.check_settlement(entry)
        return tuple(entry for entry in batch if self._state.apply(entry))

    def reject(self, rejections: Iterable[Reject]) -> tuple[Reject, ...]:
        """Give units back; return the rejections that were new. The first reason stands.

        Rejecting an open request says that its call failed: the call and its token bound stay
        spent, and the request may be reserved again.

        Raises:
            ValueError: A request was never reserved; then nothing of the batch is recorded.
        """
        batch = list(rejections)
        for entry in batch:
            self._state.reserved(entry.request_id)
        return tuple(entry for entry in batch if self._state.apply(entry))

    def release(self, releases: Iterable[Release]) -> tuple[Release, ...]:
        """Take back calls that were certainly not charged for; return the releases that were new.

        The call and its bound are free again, and the unit, unless another call for the request
        may have been made. Of a settled request only a named call other than the answered one can
        be released, and of a rejected one only a named call; the same call twice changes nothing.

        Raises:
            ValueError: A request was never reserved; then nothing of the batch is recorded.
        """
        batch = list(releases)
        for entry in batch:
            self._state.reserved(entry.request_id)
        return tuple(entry for entry in batch if self._state.apply(entry))

    def open_calls(self) -> Iterator[Release]:
        """Yield what would release each named call that may have been made and is not settled.

        Nobody can tell which of several calls of a request was answered: while one of them is open,
        the call that the settlement freed is among them.
        """
        for name, request in self._state.requests.items():
            calls = [open_call.call for open_call in request.bounds]
            for call in filter(None, [*calls, request.freed if calls else ""]):
                yield Release(name, call)

    def status(self, request_id: str) -> Status | None:
        """Return where a request stands, or None for one that was never granted."""
        return self._state.status(request_id)

    def remaining(self) -> Caps:
        """Return what may still be reserved under each cap; None where there is no cap."""
        caps, totals = self.caps, self._state.totals
        cost = None
        if caps.cost is not None:
            cost = float(
                max(Fraction(0), exact(caps.cost) - Fraction(totals.cost, self._state.money))
            )
        return Caps(
            examples=None if caps.examples is None else max(0, caps.examples - totals.units),
            calls=None if caps.calls is None else max(0, caps.calls - totals.calls),
            tokens=None if caps.tokens is None else max(0, caps.tokens - totals.tokens),
            cost=cost,
        )

    def summary(self) -> LedgerSummary:
        """Return what was spent, in total and by stage, domain, purpose and tier."""
        return summarise(self._state.groups, self.caps, self.remaining(), self._state.money)

    def requests(self) -> Iterator[RequestFigures]:
        """Yield every request's figures, in the order of their first reservations."""
        return each_request(self._state)

    def _check_bounds(self, batch: list[Reserve]) -> None:
        if self.caps.tokens is None and self.caps.cost is None:
            return
        unbounded = [asked.request_id for asked in batch if asked.calls and not asked.max_tokens]
        if unbounded:
            raise ValueError(
                f"request {unbounded[0]!r} has no max_tokens: a cap on tokens or cost can only be"
                " kept when every call comes with a bound"
            )

    def _exceeded(self, units: int, asked: Reserve) -> Cap | None:
        """Return the first cap that granting `units` and the asked call would pass."""
        caps, totals = self.caps, self._state.totals
        if units and caps.examples is not None and totals.units + units > caps.examples:
            return "examples"
        if not asked.calls:
            return None
        if caps.calls is not None and totals.calls + 1 > caps.calls:
            return "calls"
        tokens, cost = self._state.bound(asked)
        if caps.tokens is not None and totals.tokens + tokens > caps.tokens:
            return "tokens"
        if self._cost_cap is not None and totals.cost + cost > self._cost_cap:
            return "cost"
        return None
