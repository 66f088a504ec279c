"""The ledger of a run folder: its log, read and replayed.

`teacher/ledger_actor.py` writes the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from baldistill.config.teachers import TierConfig
from baldistill.core.checked_lines import from_line
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
from baldistill.errors import UserError
from baldistill.run_folder import layout
from baldistill.run_folder.reader import RunFolder
from baldistill.storage import Storage

_READERS = 16  # segments read at once: an object store takes long for each
_WAYS_OUT = (
    ". Restore the folder from a copy, or let `baldistill repair RUN --accept-loss` go on without: "
    "what the lost part says was spent is then forgotten"
)


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
        """What all requests spent together."""
        return self.summary.total

    @property
    def by_teacher(self) -> dict[str, SpentFigures]:
        """What each teacher spent, in the order of the cascade, without those never asked."""
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


def read_log(log: Storage) -> tuple[list[str], list[Entry]]:
    """Read the log of a ledger: its segments' names in order, and the entries of all of them.

    Raises:
        UserError: A segment is damaged or missing.
    """
    names = [name for name in log.list() if name.endswith(".jsonl")]
    for place, number in enumerate(sorted({int(name[:8]) for name in names if name[:8].isdigit()})):
        if place != number:
            missing = log.uri_of(f"{place:08d}*.jsonl")
            raise UserError(f"{missing} is missing, a part of the budget's ledger{_WAYS_OUT}")
    with ThreadPoolExecutor(_READERS) as readers:
        segments = list(readers.map(log.read_bytes, names))
    return names, [
        entry
        for name, segment in zip(names, segments, strict=True)
        for entry in _entries(log.uri_of(name), segment)
    ]


def _entries(uri: str, segment: bytes) -> Iterator[Entry]:
    for number, line in enumerate(segment.rstrip(b"\n").split(b"\n"), 1):
        try:
            yield from_record(from_line(line))
        except ValueError as error:
            raise UserError(f"{uri}, line {number}, is damaged: {error}{_WAYS_OUT}") from None


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
