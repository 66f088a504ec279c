"""The state of every request of the budget ledger, and the cost of all requests.

This module applies entries without caps: recorded entries hold, whatever today's caps are.
`Ledger` decides which entries may be recorded.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from baldistill.core.ledger_entries import Entry, Own, Prices, Reject, Release, Reserve, Settle
from baldistill.core.ledger_summary import Group, Spent
from baldistill.core.longtail import exact

Status: TypeAlias = Literal["open", "settled", "rejected", "released"]


class OpenCall(NamedTuple):
    """A call that may run or be charged: the most that it can cost, and its name if it has one."""

    tokens: int
    cost: int
    call: str = ""


@dataclass(slots=True)
class Request:
    """The state of one request.

    Attributes:
        group: First reservation's group; counts calls and tokens.
        unit_group: Group of the reservation that took the unit; counts the unit.
        units: Units it holds, 0 or 1.
        calls: Calls made for it or possibly under way.
        bounds: Each call that may run or be charged, ascending by its bound. A settlement frees
            one of them; of the others only those with names can still be released.
        freed: The name of the call that the settlement took for the answered one.
        stored: Its last reservation said that its answer is stored, and counted no call; so
            settling it as reused takes no call back.
        answered: Its settlement; None while it has none.
        reason: Why it was rejected, if it was.
        released: Its last call was not made.
    """

    group: Group
    unit_group: Group
    units: int = 0
    calls: int = 0
    bounds: list[OpenCall] = field(default_factory=list)
    freed: str = ""
    stored: bool = False
    answered: Settle | None = None
    reason: str | None = None
    released: bool = False

    def holds(self, call: str) -> bool:
        """Return whether a call of this name is reserved and may run or be charged."""
        return bool(call) and any(open_call.call == call for open_call in self.bounds)


@dataclass(slots=True)
class Totals:
    """The sums that caps limit, as integers."""

    units: int = 0
    calls: int = 0
    tokens: int = 0
    cost: int = 0


@dataclass(slots=True)
class LedgerState:
    """Every request's standing and the sums over them; equal states behave equally.

    Attributes:
        prices: Prices of each tier, in order; a tier without prices costs nothing.
        requests: Standing of each request by id.
        groups: Spending per stage, domain, purpose and tier.
        totals: Spending in total.
        money: Integer cost units per currency unit.
    """

    prices: Sequence[Prices]
    requests: dict[str, Request] = field(default_factory=dict)
    groups: dict[Group, Spent] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    money: int = field(init=False)
    _prices: dict[int, tuple[int, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Turn the prices into integers, so that sums are exact."""
        of_tokens = [
            (exact(p.prompt_per_million) / 1_000_000, exact(p.completion_per_million) / 1_000_000)
            for p in self.prices
        ]
        self.money = math.lcm(*(price.denominator for pair in of_tokens for price in pair))
        self._prices = {
            tier: (int(prompt * self.money), int(completion * self.money))
            for tier, (prompt, completion) in enumerate(of_tokens, start=1)
        }

    def apply(self, entry: Entry) -> bool:
        """Apply one entry; return False when it said nothing new.

        Raises:
            ValueError: The entry's request was never reserved.
        """
        match entry:
            case Reserve():
                self._hold(entry)
                return True
            case Settle():
                return self._settle(entry)
            case Reject():
                return self._reject(entry)
            case Release():
                return self._release(entry)
            case Own():
                return False

    def reserved(self, request_id: str) -> Request:
        """Return the standing of a request that must have been reserved.

        Raises:
            ValueError: The request was never reserved.
        """
        request = self.requests.get(request_id)
        if request is None:
            raise ValueError(
                f"request {request_id!r} was never reserved: a part of the ledger is missing, or"
                " a call was made without asking"
            )
        return request

    def check_settlement(self, entry: Settle) -> None:
        """Raise ValueError for a call that was made without a reservation for it."""
        request = self.reserved(entry.request_id)
        if not (request.answered or request.bounds or entry.reused):
            raise ValueError(
                f"request {entry.request_id!r} was reserved without a call: reserve it again,"
                " with a call, before making one"
            )

    def status(self, request_id: str) -> Status | None:
        """Return where a request stands, or None for one that was never granted."""
        request = self.requests.get(request_id)
        if request is None:
            return None
        if request.reason is not None:
            return "rejected"
        if request.answered:
            return "settled"
        return "released" if request.released else "open"

    def bound(self, entry: Reserve) -> tuple[int, int]:
        """Return the most tokens, and money in the integer unit, that a call can cost."""
        earlier = self.requests.get(entry.request_id)
        prompt, completion = self._price(earlier.group.tier if earlier else entry.tier)
        rest = entry.max_tokens - entry.prompt_tokens
        return entry.max_tokens, entry.prompt_tokens * prompt + rest * max(prompt, completion)

    def cost(self, tier: int, call: Settle) -> int:
        """Return the cost of a tier's call, in the integer unit."""
        prompt, completion = self._price(tier)
        return call.prompt_tokens * prompt + call.completion_tokens * completion

    def _hold(self, entry: Reserve) -> None:
        """Apply a reservation that was granted."""
        group = Group(entry.stage, entry.domain, entry.purpose, entry.tier)
        request = self.requests.get(entry.request_id)
        if request is None:
            request = self.requests[entry.request_id] = Request(group, group)
            self._spent(group).requests += 1
        if not request.answered:
            if request.reason is not None:  # the earlier call failed: this is another try
                self._count_rejected(request, request.reason, -1)
            request.reason, request.released = None, False
            request.stored = not entry.calls
            if entry.calls:
                bound = OpenCall(*self.bound(entry), entry.call)
                self._count_call(request, 1, bound)
                insort(request.bounds, bound)
        if entry.units > request.units:
            request.unit_group = group
            self._count_units(request, entry.units)

    def _settle(self, entry: Settle) -> bool:
        """Apply a settlement; return False when the request was settled before."""
        self.check_settlement(entry)
        request = self.requests[entry.request_id]
        if request.answered:
            return False
        request.answered = entry
        spent = self._spent(request.group)
        used = entry.prompt_tokens + entry.completion_tokens, self.cost(request.group.tier, entry)
        if entry.reused:
            self._take_back_unmade(request)
        elif request.bounds:
            tokens, cost, request.freed = request.bounds.pop(_answered(request.bounds, used))
            self._count_call(request, 0, OpenCall(-tokens, -cost))
        request.bounds = [open_call for open_call in request.bounds if open_call.call]
        if entry.reused:
            spent.reused += 1
            return True
        spent.prompt_tokens += entry.prompt_tokens
        spent.completion_tokens += entry.completion_tokens
        self.totals.tokens += used[0]
        self.totals.cost += used[1]
        spent.cost += used[1]
        return True

    def _take_back_unmade(self, request: Request) -> None:
        """Take back the call that was reserved and not made, as an answer was stored already.

        Of several calls with names any may have been made: each is released by its name.
        """
        if request.stored or not request.bounds:
            return
        if len(request.bounds) == 1 or not all(open_call.call for open_call in request.bounds):
            tokens, cost, _ = request.bounds.pop(0)
            self._count_call(request, -1, OpenCall(-tokens, -cost))

    def _reject(self, entry: Reject) -> bool:
        """Apply a rejection; return False when the request was rejected before."""
        request = self.reserved(entry.request_id)
        if request.reason is not None:
            return False
        request.reason = entry.reason
        self._count_rejected(request, entry.reason, 1)
        self._count_units(request, 0)
        return True

    def _release(self, entry: Release) -> bool:
        """Take an open call back; return False if it is not open, or was released before."""
        request = self.reserved(entry.request_id)
        if request.released or not request.bounds:
            return False
        # its last call failed or was answered, so it was made
        if (request.reason or request.answered) and not entry.call:
            return False
        place = 0
        calls = [open_call.call for open_call in request.bounds]
        if entry.call in calls:
            place = calls.index(entry.call)
        elif entry.call and not (request.answered and entry.call == request.freed):
            return False
        tokens, cost, call = request.bounds.pop(place)
        if call != entry.call:  # the settlement freed a call that was not sent: this was answered
            request.freed = call
        self._count_call(request, -1, OpenCall(-tokens, -cost))
        # Where a call is released by its name and other calls of the request are open, the request
        # keeps its unit: one of those calls may have been made.
        is_only_call = not (entry.call and request.bounds)
        if is_only_call and not request.reason and not request.answered:
            request.released = True
            self._count_units(request, 0)
        return True

    def _count_rejected(self, request: Request, reason: str, change: int) -> None:
        rejected = self._spent(request.group).rejected
        rejected[reason] += change
        if not rejected[reason]:
            del rejected[reason]

    def _count_units(self, request: Request, units: int) -> None:
        """Set the number of units that a request holds."""
        change = units - request.units
        request.units = units
        self.totals.units += change
        self._spent(request.unit_group).units += change

    def _count_call(self, request: Request, calls: int, bound: OpenCall) -> None:
        """Add (or take back) a call and the bound on its tokens and cost."""
        tokens, cost, _ = bound
        request.calls += calls
        self.totals.calls += calls
        self.totals.tokens += tokens
        self.totals.cost += cost
        spent = self._spent(request.group)
        spent.calls += calls
        spent.held_tokens += tokens
        spent.held_cost += cost

    def _spent(self, group: Group) -> Spent:
        spent = self.groups.get(group)
        if spent is None:
            spent = self.groups[group] = Spent()
        return spent

    def _price(self, tier: int) -> tuple[int, int]:
        return self._prices.get(tier, (0, 0))


def _answered(bounds: Sequence[OpenCall], used: tuple[int, int]) -> int:
    """Return the place of the answered call: the smallest bound that covers its use, or the last.

    Nobody can tell which open call was answered; the bounds of the others stay held.
    """
    allows = (bound.tokens >= used[0] and bound.cost >= used[1] for bound in bounds)
    return next((place for place, does in enumerate(allows) if does), len(bounds) - 1)
