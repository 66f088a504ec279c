"""The table: one row for each kind of fault, summed over its rounds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fault_matrix.history import History, differing, passed_caps, repeated, server_calls, violations
from fault_matrix.round import Round

COLUMNS = (
    "fault", "rounds", "faults", "completed", "equal", "repeated", "server", "ledger", "cap held",
    "exit status", "message", "verdict",
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """The outcome of one kind of fault.

    Attributes:
        name: Of the fault.
        faults: Kills, failed calls, hostile replies: what the run was put through.
        completed: Rounds that ended well after all.
        equal: Rounds whose tables are those of the undisturbed run; None where none can be.
        repeated: Answered requests that were asked again.
        server, ledger: Calls.
        cap_held: Whether no cap was passed.
        statuses: How often each exit status came.
        unclear: Ends that told the user nothing, or showed a traceback.
        problems: All that was wrong, in sentences.
        skipped: Why the rounds were not run here.
    """

    name: str
    rounds: int = 0
    faults: int = 0
    completed: int = 0
    equal: int | None = None
    repeated: int = 0
    server: int = 0
    ledger: int = 0
    cap_held: bool = True
    statuses: Counter[int] = field(default_factory=Counter)
    unclear: int = 0
    problems: list[str] = field(default_factory=list)
    skipped: str = ""

    def add(
        self,
        this: Round,
        expected: dict[str, object] | None,
        *,
        faults: int | None = None,
        is_whole: bool = True,
    ) -> None:
        """Count a round that has ended; one that is not whole began with another server's calls."""
        complete = bool(this.statuses) and this.statuses[-1] == 0
        history = this.history(expected) if is_whole else History((), complete=complete)
        problems = [*violations(history), *this.problems]
        self.rounds += 1
        self.faults += this.kills if faults is None else faults
        self.completed += history.complete
        if expected is not None:
            self.equal = (self.equal or 0) + (history.complete and not differing(history))
        self.repeated += len(repeated(history))
        self.server += server_calls(history)
        self.ledger += 0 if history.ledger is None else history.ledger.calls
        self.cap_held &= not passed_caps(history)
        self.statuses.update(this.statuses)
        self.unclear += len(this.problems)
        self.problems += problems

    @property
    def is_green(self) -> bool:
        """Return whether every promise was kept."""
        return not self.problems

    def cells(self) -> list[str]:
        """Return the row as texts, in the order of `COLUMNS`."""
        if self.skipped:
            return [self.name, *["-"] * (len(COLUMNS) - 2), f"skipped: {self.skipped}"]
        statuses = ", ".join(f"{status} x{n}" for status, n in sorted(self.statuses.items()))
        return [
            self.name, str(self.rounds), str(self.faults), f"{self.completed}/{self.rounds}",
            "-" if self.equal is None else f"{self.equal}/{self.rounds}", str(self.repeated),
            str(self.server), str(self.ledger), "yes" if self.cap_held else "NO", statuses,
            "useful" if not self.unclear else f"{self.unclear} unclear",
            "kept" if self.is_green else "BROKEN",
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        names = (
            "rounds", "faults", "completed", "equal", "repeated", "server", "ledger", "cap_held",
            "unclear", "problems", "skipped",
        )  # fmt: skip
        return {"fault": self.name, **{name: getattr(self, name) for name in names}}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of texts as a Markdown table."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    texts = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
             for line in lines]  # fmt: skip
    return "\n".join(texts)


def summary(rows: Iterable[Row], seconds: float, seed: int) -> str:
    """Return all figures as one line of JSON."""
    figures = [row.to_dict() for row in rows]
    return json.dumps({"name": "faults", "seed": seed, "seconds": round(seconds), "rows": figures})
