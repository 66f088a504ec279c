"""What the teacher was paid for: the ledger of a run, replayed from its log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from baldistill.core.ledger import (
    Caps,
    Entry,
    Ledger,
    LedgerSummary,
    Prices,
    RequestFigures,
    SpentFigures,
    from_record,
)
from baldistill.run_folder import layout
from baldistill.run_folder.reader import RunFolder
from baldistill.storage import Storage

_READERS = 16  # segments read at once: an object store answers each in its own time


@dataclass(frozen=True, slots=True)
class Spending:
    """The ledger's figures.

    Attributes:
        summary: What was spent along each side, the caps and what remains under them.
        by_stage: Per stage, in order.
        calls: Stage -> purpose -> calls.
        teachers: What each tier is called; one, or several of a cascade.
        priced: Whether any teacher has a price.
        requests: Every request, in the order of their first reservations.
    """

    summary: LedgerSummary
    by_stage: dict[int, SpentFigures]
    calls: dict[int, dict[str, int]]
    teachers: tuple[str, ...]
    priced: bool
    requests: tuple[RequestFigures, ...]

    @property
    def total(self) -> SpentFigures:
        """All of them."""
        return self.summary.total

    @property
    def by_purpose(self) -> Mapping[str, SpentFigures]:
        """Per purpose of a call: rationale, synthesis, verification."""
        return self.summary.by_purpose

    @property
    def by_teacher(self) -> dict[str, SpentFigures]:
        """Per teacher, the first asked first; teachers that were never asked are left out."""
        tiers = self.summary.by_tier
        return {self.teacher(int(tier)): spent for tier, spent in tiers.items()}

    @property
    def money(self) -> float | None:
        """Cost in the currency of the prices; None without prices."""
        return self.total.cost if self.priced else None

    def teacher(self, tier: int) -> str:
        """What a tier is called."""
        name = self.teachers[tier - 1] if tier <= len(self.teachers) else "?"
        return f"{tier}: {name}" if len(self.teachers) > 1 else name


def read_spending(run: RunFolder) -> Spending | None:
    """Replay the ledger; None where no teacher was asked.

    The log is there whether the run is finished, stopped or at work, and knows more than the
    summary in `metrics.json`: each request. Caps and prices are those of `config.yaml`.
    """
    entries = _entries(run.storage.sub(layout.LEDGER))
    if not entries:
        return None
    teacher = run.setting("teacher", {})
    tiers = teacher.get("tiers") or [teacher]
    prices = tuple(Prices(**tier.get("prices", {})) for tier in tiers)
    budget = run.setting("budget", {})
    caps = Caps(run.budget, *(budget.get(name) for name in ("calls", "tokens", "cost")))
    ledger = Ledger.replay(caps, entries, prices)
    summary, requests = ledger.summary(), tuple(ledger.requests())
    return Spending(
        summary=summary,
        by_stage=dict(sorted((int(stage), spent) for stage, spent in summary.by_stage.items())),
        calls=_calls(requests),
        teachers=tuple(_name(tier) for tier in tiers),
        priced=any(p.prompt_per_million or p.completion_per_million for p in prices),
        requests=requests,
    )


def _entries(log: Storage) -> list[Entry]:
    """The log: JSON lines in numbered segments, in the order of their names."""
    names = [name for name in log.list() if name.endswith(".jsonl")]
    with ThreadPoolExecutor(_READERS) as readers:
        texts = list(readers.map(log.read_text, names))
    return [from_record(json.loads(line)) for text in texts for line in text.splitlines()]


def _calls(requests: tuple[RequestFigures, ...]) -> dict[int, dict[str, int]]:
    """Calls by stage and purpose; a request belongs to the stage that reserved it first."""
    calls: dict[int, dict[str, int]] = {}
    for request in requests:
        stage = calls.setdefault(request.stage, {})
        stage[request.purpose] = stage.get(request.purpose, 0) + request.calls
    return dict(sorted(calls.items()))


def _name(teacher: Mapping[str, Any]) -> str:
    """Engine and model, or what is replayed."""
    kind = str(teacher.get("kind", "transformers"))
    what = teacher.get("path") if kind == "replay" else teacher.get("model", "bundled")
    return f"{kind} {str(what).rpartition('/')[2]}"
