"""Send text to a terminal through `visible`, never as Rich's markup or emoji codes.

No other module makes a Rich console, text or table (`tests/unit/test_terminal.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import TextColumn
from rich.table import Table
from rich.text import Text

from baldistill.visible import visible, visible_lines


def make_console(**options: Any) -> Console:
    """Return a Rich console that prints strings as they are."""
    return Console(**{"highlight": False, "markup": False, "emoji": False, **options})


def make_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    summary: Iterable[Sequence[str]],
    *,
    words: int = 1,
    frame: box.Box = box.HEAVY_HEAD,
    no_wrap: bool = False,
) -> Table:
    """Return a table to print; the first `words` columns hold words, the others numbers.

    The rows of `summary` are set apart at the bottom. `no_wrap` keeps each number on one line.
    """
    table = Table(title=_text(title), title_justify="left", box=frame)
    for number, name in enumerate(columns):
        if number < words:
            table.add_column(_text(name))
        else:
            table.add_column(_text(name), justify="right", no_wrap=no_wrap)
    for row in rows:
        table.add_row(*map(_text, row))
    table.add_section()
    for row in summary:
        table.add_row(*map(_text, row))
    return table


def text_column(form: str) -> TextColumn:
    """Return a column of a progress bar whose text is no markup."""
    return TextColumn(form, markup=False)


def print_line(console: Console, text: str) -> None:
    """Print a text as one line."""
    console.print(visible(text), soft_wrap=True)


def print_lines(console: Console, text: str) -> None:
    """Print a text whose line ends are ours."""
    console.print(visible_lines(text), soft_wrap=True)


def _text(text: str) -> Text:
    return Text(visible(text))
