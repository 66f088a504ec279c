"""The ledger's spending by stage, domain, purpose and tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypeAlias

from baldistill.core.ledger_entries import Caps, Purpose


class Group(NamedTuple):
    """The finest grouping that spending is counted by."""

    stage: int
    domain: str
    purpose: Purpose
    tier: int = 1


@dataclass(slots=True)
class Spent:
    """Counts of one group of requests. The ledger adds to it; everyone else only reads.

    Attributes:
        requests: Different requests granted.
        calls: Calls made or possibly under way, with those that a crash lost.
        units: Annotated examples held.
        reused: Requests that a shared store or a recording answered.
        rejected: Requests whose answer became no example, by reason.
        prompt_tokens: Prompt tokens of settled calls.
        completion_tokens: Completion tokens of settled calls.
        cost: Cost of settled calls, in the ledger's integer unit.
        held_tokens: Token bounds of calls without a settlement: under way, failed or lost.
        held_cost: Cost bound of the same calls.
    """

    requests: int = 0
    calls: int = 0
    units: int = 0
    reused: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    held_tokens: int = 0
    held_cost: int = 0

    def add(self, other: Spent) -> None:
        """Add another group's counts to this one's."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class SpentFigures:
    """The counts of one group as people read them; `Spent` describes the other attributes.

    Attributes:
        cost: Cost of the settled calls, in the currency of the prices.
        held_cost: Cost bound of the calls without a settlement, in the same currency.
    """

    requests: int
    calls: int
    units: int
    reused: int
    rejected: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    held_tokens: int
    cost: float
    held_cost: float


Figures: TypeAlias = Mapping[str, SpentFigures]


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """All that a report or a status line says about the budget.

    Attributes:
        total: Everything.
        by_stage: Per stage; the keys are stage numbers as text, in order.
        by_domain: Per domain, in order of name.
        by_purpose: Per purpose, in order of name.
        by_tier: Per teacher of a cascade; the keys are numbers from 1 as text, in order.
        caps: The most that may be spent.
        remaining: What may still be reserved under each cap; None where there is no cap.
    """

    total: SpentFigures
    by_stage: Figures
    by_domain: Figures
    by_purpose: Figures
    by_tier: Figures
    caps: Caps
    remaining: Caps

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a JSON-ready dictionary."""
        return asdict(self)


def summarise(
    groups: Mapping[Group, Spent],
    caps: Caps,
    remaining: Caps,
    money: int,
) -> LedgerSummary:
    """Sum the groups by stage, by domain, by purpose and by tier.

    Args:
        groups: Counts per stage, domain, purpose and tier.
        caps: The most that may be spent.
        remaining: What is left under each cap.
        money: Integer cost units per currency unit.
    """

    def table(key: Callable[[Group], Any]) -> dict[str, SpentFigures]:
        sums: dict[Any, Spent] = {}
        for group, spent in groups.items():
            sums.setdefault(key(group), Spent()).add(spent)
        return {str(side): _figures(sums[side], money) for side in sorted(sums)}

    total = Spent()
    for spent in groups.values():
        total.add(spent)
    return LedgerSummary(
        total=_figures(total, money),
        by_stage=table(lambda group: group.stage),
        by_domain=table(lambda group: group.domain),
        by_purpose=table(lambda group: group.purpose),
        by_tier=table(lambda group: group.tier),
        caps=caps,
        remaining=remaining,
    )


def _figures(spent: Spent, money: int) -> SpentFigures:
    return SpentFigures(
        requests=spent.requests,
        calls=spent.calls,
        units=spent.units,
        reused=spent.reused,
        rejected=dict(sorted(spent.rejected.items())),
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        held_tokens=spent.held_tokens,
        cost=spent.cost / money,
        held_cost=spent.held_cost / money,
    )
