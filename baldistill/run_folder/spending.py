"""The figures of a run folder's ledger: its log, replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.config.teachers import TierConfig
from baldistill.core.ledger import (
    Caps,
    Ledger,
    LedgerSummary,
    Prices,
    RequestFigures,
    SpentFigures,
)
from baldistill.run_folder import layout
from baldistill.run_folder.ledger_log import read_log
from baldistill.run_folder.reader import RunFolder
from baldistill.storage import Storage


@dataclass(frozen=True, slots=True)
class Spending:
    """The figures of a ledger.

    Attributes:
        summary: What was spent by stage, domain, purpose and teacher; caps and what remains.
        calls: Stage -> purpose -> calls.
        teachers: Name of each teacher: one, or several of a cascade.
        priced: Whether any teacher has a price.
        requests: Every request, in the order of their first reservations.
    """

    summary: LedgerSummary
    by_stage: dict[int, SpentFigures]
    calls: dict[int, Counter[str]]
    teachers: tuple[str, ...]
    priced: bool
    requests: tuple[RequestFigures, ...]

    @property
    def total(self) -> SpentFigures:
        """Return what all requests spent together."""
        return self.summary.total

    @property
    def by_teacher(self) -> dict[str, SpentFigures]:
        """Return what each teacher that was asked has spent, in the order of the cascade."""
        tiers = self.summary.by_tier
        return {self.teacher(int(tier)): spent for tier, spent in tiers.items()}

    def teacher(self, tier: int) -> str:
        """Return the name of a teacher by its place in the cascade, from 1."""
        name = self.teachers[tier - 1] if tier <= len(self.teachers) else "?"
        return f"{tier}: {name}" if len(self.teachers) > 1 else name


def read_spending(run: RunFolder) -> Spending | None:
    """Return the figures of a run's ledger; None if no teacher was asked.

    The run may be finished, stopped or at work. Caps and prices are those of `config.yaml`.
    """
    teacher = run.setting("teacher", {})
    tiers = teacher.get("tiers") or [teacher]
    verifier = run.setting("tail.verifier", None)
    judge = (run.setting("judge", None) or {}).get("teacher")
    tiers = [*tiers, *(model for model in (verifier, judge) if model)]
    prices = tuple(Prices(**tier.get("prices", {})) for tier in tiers)
    budget = run.setting("budget", {})
    caps = Caps(run.budget, *(budget.get(name) for name in ("calls", "tokens", "cost")))
    ledger = replay(run.storage, caps, prices)
    summary, requests = ledger.summary(), tuple(ledger.requests())
    if not requests:
        return None
    return Spending(
        summary=summary,
        by_stage=dict(sorted((int(stage), spent) for stage, spent in summary.by_stage.items())),
        calls=_calls(requests),
        teachers=tuple(_name(tier) for tier in tiers),
        priced=any(p.prompt_per_million or p.completion_per_million for p in prices),
        requests=requests,
    )


def replay(storage: Storage, caps: Caps, prices: tuple[Prices, ...] = ()) -> Ledger:
    """Return the ledger of a run folder; a call that a crash left open counts as made.

    The summary counts the remainder from `caps`.
    """
    _, entries = read_log(storage.sub(layout.LEDGER))
    return Ledger.replay(caps, entries, prices)


def reused_from_other_runs(summary: Mapping[str, Any], tiers: Sequence[TierConfig]) -> int:
    """Count the answers of a run that another run had paid for.

    The ledger's summary counts every answer of a recording as reused, but no run has paid for it.
    """
    recorded = {str(number) for number, tier in enumerate(tiers, start=1) if tier.recorded}
    by_tier = summary["by_tier"].items()
    return sum(int(figures["reused"]) for tier, figures in by_tier if tier not in recorded)


def _calls(requests: tuple[RequestFigures, ...]) -> dict[int, Counter[str]]:
    """Count calls by stage and purpose; a request belongs to the stage that reserved it first."""
    calls: dict[int, Counter[str]] = {}
    for request in requests:
        calls.setdefault(request.stage, Counter())[request.purpose] += request.calls
    return dict(sorted(calls.items()))


def _name(teacher: Mapping[str, Any]) -> str:
    """Name a teacher by its engine and its model, or by the recording that it replays."""
    kind = str(teacher.get("kind", "transformers"))
    what = teacher.get("path") if kind == "replay" else teacher.get("model", "bundled")
    return f"{kind} {str(what).rpartition('/')[2]}"
