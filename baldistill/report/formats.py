"""Write figures and tables as text: percent, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from baldistill.visible import visible

# A spreadsheet takes a cell for a formula if it begins with one of these signs, in full width too.
# A number such as -1.5 is no formula.
_FORMULA = re.compile(r"(?![+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z)[=+\-@\uff1d\uff0b\uff0d\uff20]")
_MARKUP = re.compile(r"(\\*)([|<])")


def percent(share: float | None, half: float | None = None) -> str:
    """Write a figure in [0, 1] in percent, with half the width of its interval if it has one."""
    if share is None:
        return "-"
    return f"{100 * share:.1f}" + (f" ± {100 * half:.1f}" if half is not None else "")


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: slice = slice(1, None)
) -> list[str]:
    """Return the lines of a Markdown table; the columns of `numbers` are flush right.

    A row is one line whatever its cells hold, and no cell ends early or opens an HTML tag.
    """
    marks = ["---"] * len(heads)
    marks[numbers] = ["---:"] * len(marks[numbers])
    return [_line(heads), f"|{'|'.join(marks)}|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown_cell, cells))} |"


def _markdown_cell(text: str) -> str:
    return _MARKUP.sub(r"\1\1\\\2", visible(text))  # a backslash before ours would undo it


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Write rows as CSV, the first of them as the heads.

    A row is one line, without control codes. A text that a spreadsheet would take for a formula
    begins with `'`, which makes it text there.
    """
    text = io.StringIO()
    csv.writer(text).writerows([_csv_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if _FORMULA.match(value) else visible(value)
