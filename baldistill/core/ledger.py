"""The budget ledger: reserve before the teacher is called, settle with its response.

Pure transitions in memory. Whoever runs it makes the returned entries durable *before* acting
on them, and gets the same ledger back from `Ledger.replay` of what is durable. Then nothing can
be granted past a cap, whatever the number of workers and wherever a crash falls:

- an open reservation counts in full: its unit, its call, its bound on tokens and cost;
- a reservation that a crash left open stays spent. Asking for it again costs another call (the
  first may have happened) but no second unit;
- a call that was certainly not made is released: nothing of it counts any more;
- a settled request costs nothing to ask for again: its answer is stored;
- a rejected request gives its unit back; its call and tokens stay spent. Once its answer has
  been seen, a rejection is final, so that a resumed run decides as the first one did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from baldistill.core.ledger_entries import (
    Caps,
    Entry,
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
        granted: Ids that may go ahead, in the order asked; among them the settled ones.
        settled: Those of the granted whose answer is already known: do not call again.
        refused: Ids that would pass a cap, and which.
        rejected: Ids whose answer was seen and rejected before, and why: nothing to do again.
        entries: What to make durable before acting on any of this.
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
        caps: What may be spent at most. A run resumed with a lower cap than is already spent
            grants nothing more; nothing is taken back.
        prices: Of each teacher of a cascade, in its order; without them the cost is 0.
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
            prices: Of each teacher, in the order of the tiers.

        Raises:
            ValueError: An entry speaks of what was never reserved.
        """
        ledger = cls(caps, prices)
        for entry in entries:
            ledger._state.apply(entry)
        return ledger

    def reserve(self, requests: Iterable[Reserve]) -> Grants:
        """Grant what fits under every cap, in the order asked.

        A request named twice in one batch is one request. Asked for by two batches before it is
        settled, it is two calls and one unit, for both callers may call.

        Args:
            requests: What is about to be asked of the teacher.

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
        """Record what calls really cost, and return what was news.

        A request settled before is not settled again. An open reservation of an earlier,
        crashed run may be settled without reserving it again when its own answer was stored.

        Raises:
            ValueError: A request was never reserved, or reserved without a call and not reused;
                then nothing of the batch is recorded.
        """
        batch = list(settlements)
        for entry in batch:
            self._state.check_settlement(entry)
        return tuple(entry for entry in batch if self._state.apply(entry))

    def reject(self, rejections: Iterable[Reject]) -> tuple[Reject, ...]:
        """Give units back, and return what was news: the first reason stands.

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
        """Take calls back that were certainly not charged for, and return what was news.

        The unit, the call and its bound are free again. The release of a request that was
        settled or rejected meanwhile says nothing, as does a second one of the same call.

        Raises:
            ValueError: A request was never reserved; then nothing of the batch is recorded.
        """
        batch = list(releases)
        for entry in batch:
            self._state.reserved(entry.request_id)
        return tuple(entry for entry in batch if self._state.apply(entry))

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
        """Give every request's figures, in the order of their first reservations."""
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
