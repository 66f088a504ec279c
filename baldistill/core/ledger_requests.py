"""Figures of every single request of the ledger, for the export and for look-ups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from baldistill.core.ledger_entries import Purpose, Settle
from baldistill.core.ledger_state import LedgerState, Status


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """One request as people read it: a row of the exported ledger.

    Attributes:
        request_id: Identity of the call.
        stage: Of its first reservation, as are `domain`, `purpose` and `tier`.
        domain: The domain the example is in.
        purpose: What the call is for.
        tier: The teacher of a cascade, from 1.
        units: Annotated examples it holds, 0 or 1.
        calls: Calls made or possibly under way: over 1 if one failed or was lost in a crash.
        status: `open`, `settled`, `rejected`, or `released` where its last call was not made.
        reused: A shared store or a recording answered, without a call.
        reason: Why it was rejected.
        prompt_tokens: Of the settled call.
        completion_tokens: Of the settled call.
        cost: Of the settled call, in the currency of the prices.
    """

    request_id: str
    stage: int
    domain: str
    purpose: Purpose
    tier: int
    units: int
    calls: int
    status: Status
    reused: bool
    reason: str | None
    prompt_tokens: int
    completion_tokens: int
    cost: float


def each_request(state: LedgerState) -> Iterator[RequestFigures]:
    """Yield every request's figures, in the order of their first reservations."""
    for name, request in state.requests.items():
        group, settled = request.group, request.answered
        paid = settled if settled and not settled.reused else Settle(name)
        yield RequestFigures(
            request_id=name,
            stage=group.stage,
            domain=group.domain,
            purpose=group.purpose,
            tier=group.tier,
            units=request.units,
            calls=request.calls,
            status=state.status(name) or "open",
            reused=bool(settled and settled.reused),
            reason=request.reason,
            prompt_tokens=paid.prompt_tokens,
            completion_tokens=paid.completion_tokens,
            cost=state.cost(group.tier, paid) / state.money,
        )
