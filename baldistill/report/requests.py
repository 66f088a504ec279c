"""Show what a run has spent so far: tables, JSON and a CSV of requests (`baldistill ledger`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from baldistill.core.ledger import Caps, RequestFigures, SpentFigures
from baldistill.errors import UserError
from baldistill.report.formats import csv_text
from baldistill.run_folder.reader import read_run
from baldistill.run_folder.spending import Spending, read_spending
from baldistill.terminal import make_console, make_table, print_line

_MOST_ROWS = 40
_WIDTH = 140  # columns of a table that is not shown on a terminal
_KEYS = {"examples": "total"}  # keys of `budget` that differ from the name of the cap


def ledger(run: str | Path, *, csv_path: str | Path | None = None) -> Spending | None:
    """Read the ledger of a run, finished or not; return None where no teacher was asked.

    Every request is also written to `csv_path`, if there is one.

    Raises:
        UserError: It is not a run folder, or the file cannot be written.
    """
    spending = read_spending(read_run(run))
    if csv_path is not None:
        _export(spending.requests if spending else (), Path(csv_path))
    return spending


def show(run: str | Path, spending: Spending | None, console: Console | None = None) -> None:
    """Print the figures of a run's ledger."""
    console = console or make_console(width=None if sys.stdout.isatty() else _WIDTH)
    folder = read_run(run)
    state = "finished" if folder.finished else "not finished"
    print_line(console, f"{folder.storage.uri} ({state})")
    if spending is None:
        console.print("no teacher was asked yet")
        return
    for cap, limit, left in _caps(spending):
        used = f"{limit - left:,.10g} of {limit:,.10g}"
        console.print(f"budget.{_KEYS.get(cap, cap)}: {used} spent or held, {left:,.10g} left")
    sides: Mapping[str, Mapping[str, SpentFigures]] = {
        "stage": {str(stage): spent for stage, spent in spending.by_stage.items()},
        "purpose": spending.summary.by_purpose,
        "teacher": spending.by_teacher,
        "domain": spending.summary.by_domain,
    }
    for side, figures in sides.items():
        console.print(_table(side, figures, spending))
    if reasons := spending.total.rejected:
        ordered = sorted(reasons.items(), key=lambda item: -item[1])
        print_line(console, "rejected: " + ", ".join(f"{n:,} {reason}" for reason, n in ordered))
    if retries := _retries(spending):
        console.print(f"{retries:,} calls were made again after a failure or a crash")
    if waiting := _open(spending):
        why = "a crash lost them" if folder.finished else "under way, or lost in a crash"
        console.print(f"{waiting:,} requests have no answer ({why}): their bounds count as spent")


def to_dict(spending: Spending | None) -> dict[str, Any]:
    """Return the figures as JSON values; empty where no teacher was asked."""
    if spending is None:
        return {}
    teachers = {tier: spending.teacher(int(tier)) for tier in spending.summary.by_tier}
    return {
        **spending.summary.to_dict(),
        "teachers": teachers,
        "retries": _retries(spending),
        "open": _open(spending),
    }


def _caps(spending: Spending) -> list[tuple[str, float, float]]:
    """Return each cap that is set, its limit, and what is left under it."""
    caps, left = asdict(spending.summary.caps), asdict(spending.summary.remaining)
    names = [field.name for field in fields(Caps) if caps[field.name] is not None]
    return [(name, caps[name], left[name]) for name in names]


def _table(side: str, figures: Mapping[str, SpentFigures], spending: Spending) -> Table:
    """Make a row for each name; leave out columns without a figure in the whole run."""
    columns = {heading: cell for heading, cell in _CELLS.items() if cell(spending.total)}
    ordered = list(figures.items())
    if side == "domain":
        ordered.sort(key=lambda item: (-item[1].units, item[0]))
    hidden = len(ordered) - _MOST_ROWS
    whole = f"all ({hidden:,} more in --json)" if hidden > 0 else "all"

    def row(name: str, spent: SpentFigures) -> list[str]:
        return [name, *(_figure(cell(spent)) for cell in columns.values())]

    return make_table(
        f"by {side}",
        [side, *columns],
        [row(*item) for item in ordered[:_MOST_ROWS]],
        [row(whole, spending.total)],
        frame=box.SIMPLE_HEAD,
        no_wrap=True,
    )


_CELLS: dict[str, Callable[[SpentFigures], float]] = {
    "units of B": lambda spent: spent.units,
    "calls": lambda spent: spent.calls,
    "reused": lambda spent: spent.reused,
    "rejected": lambda spent: sum(spent.rejected.values()),
    "prompt tokens": lambda spent: spent.prompt_tokens,
    "completion tokens": lambda spent: spent.completion_tokens,
    "held tokens": lambda spent: spent.held_tokens,
    "cost": lambda spent: spent.cost,
    "held cost": lambda spent: spent.held_cost,
}


def _figure(value: float) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


def _retries(spending: Spending) -> int:
    """Count calls that were made again because one failed, or was lost in a crash."""
    return sum(max(0, request.calls - 1) for request in spending.requests)


def _open(spending: Spending) -> int:
    return sum(request.status == "open" for request in spending.requests)


def _export(requests: tuple[RequestFigures, ...], path: Path) -> None:
    heads = [field.name for field in fields(RequestFigures)]
    try:
        path.write_text(csv_text([heads, *map(astuple, requests)]), "utf-8", newline="")
    except OSError as error:
        raise UserError(f"cannot write --csv {path}: {error.strerror or error}") from None
