"""All text for a terminal leaves through one module, which lets nothing in it act."""

from __future__ import annotations

import ast
import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from texts import ANY_TEXT, HARMFUL

from baldistill.terminal import make_console, make_table, print_line, print_lines, text_column
from baldistill.visible import visible

PACKAGE = Path(__file__).resolve().parents[2] / "baldistill"
MAKERS = {"Console", "Table", "Text", "TextColumn", "escape", "print"}
"""What no other module may take from Rich in order to call it."""


def console() -> tuple[Console, io.StringIO]:
    """A console as a terminal has it: with colours, and as wide as any line."""
    file = io.StringIO()
    return make_console(file=file, width=20_000, force_terminal=True), file


def assert_shown(output: str, text: str) -> None:
    assert visible(text).strip() in output
    for char in set(output) - {"\n", "\x1b"}:  # a terminal's own codes of bold and colours remain
        assert visible(char) == char
    assert all(code.startswith("[") for code in output.split("\x1b")[1:])


@given(ANY_TEXT)
def test_a_line_shows_any_text(text: str) -> None:
    shown, file = console()
    print_line(shown, text)
    assert file.getvalue() == visible(text) + "\n"


@given(ANY_TEXT)
def test_lines_show_any_text(text: str) -> None:
    shown, file = console()
    print_lines(shown, text)
    assert file.getvalue().count("\n") == text.count("\n") + 1


@given(st.lists(ANY_TEXT, min_size=3, max_size=3))
def test_a_table_shows_any_text(texts: list[str]) -> None:
    head, cell, whole = texts
    shown, file = console()
    shown.print(make_table("domains", [head, "n"], [[cell, "1"]], [[whole, "1"]]))
    for text in texts:
        assert_shown(file.getvalue(), text)


def test_a_progress_bar_shows_any_text() -> None:
    for text in HARMFUL:
        column = text_column("{task}")
        assert str(column.render(visible(text))) == visible(text)  # type: ignore[arg-type]


def test_no_other_module_prints_or_makes_what_rich_prints() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if path.name == "terminal.py":
            continue
        tree = ast.parse(path.read_text("utf-8"))
        of_rich = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich"
            for alias in node.names
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id in MAKERS & of_rich or node.func.id == "print":
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.func.id}")
    assert wrong == []
