"""Write figures and tables as text: percent, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def percent(share: float | None, half: float | None = None) -> str:
    """Write a figure in [0, 1] in percent, with half the width of its interval if it has one."""
    if share is None:
        return "-"
    return f"{100 * share:.1f}" + (f" ± {100 * half:.1f}" if half is not None else "")


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: slice = slice(1, None)
) -> list[str]:
    """Return the lines of a Markdown table; the columns of `numbers` are flush right."""
    marks = ["---"] * len(heads)
    marks[numbers] = ["---:"] * len(marks[numbers])
    return [_line(heads), f"|{'|'.join(marks)}|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    clean = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(clean)} |"


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Write rows as CSV, the first of them as the heads."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
