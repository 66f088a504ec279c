"""Markdown and CSV hold any text: one row a line, each cell one cell, and no formula."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import ANY_TEXT

from baldistill.report.formats import csv_text, markdown_table
from baldistill.visible import visible

ROWS = st.lists(st.lists(ANY_TEXT, min_size=2, max_size=2), min_size=1, max_size=4)
CELLS = re.compile(r"(?:\\.|[^\\|])*")  # as GitHub reads a row: a backslash takes the next sign
TAG = re.compile(r"(?<!\\)(?:\\\\)*<")


@given(ROWS)
def test_a_row_of_markdown_is_one_line_with_its_cells(rows: list[list[str]]) -> None:
    lines = markdown_table(["domain", "method"], rows)
    assert "\n".join(lines).splitlines() == lines
    for row, line in zip(rows, lines[2:], strict=True):
        assert line.startswith("| ")
        assert line.endswith(" |")
        cells = [cell for cell in CELLS.findall(line) if cell]
        shown = [re.sub(r"\\([|<\\])", r"\1", cell[1:-1]) for cell in cells]
        # a lone backslash and a doubled one read alike: only pipes and tags need one more
        assert [cell.replace("\\", "") for cell in shown] == [
            visible(cell).replace("\\", "") for cell in row
        ]
        assert not TAG.search(line)


@given(ROWS)
def test_a_row_of_csv_is_one_line_with_its_cells(rows: list[list[str]]) -> None:
    text = csv_text(rows)
    assert text.count("\n") == len(rows) == len(text.splitlines())
    text.encode("utf-8")
    found = list(csv.reader(io.StringIO(text, newline="")))
    for row, cells in zip(rows, found, strict=True):
        assert [cell.removeprefix("'") for cell in cells] == [
            visible(cell).removeprefix("'") for cell in row
        ]
        for cell in cells:
            assert not cell.startswith(("=", "@", "\t", "\r"))
            if cell.startswith(("+", "-")):
                assert float(cell) is not None


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("-1-1", "'-1-1"),
        ("+cmd", "'+cmd"),
        ("@x", "'@x"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\\t=1"),
        ("-0.5", "-0.5"),
        ("+1e-05", "+1e-05"),
        (-0.5, "-0.5"),
        (None, ""),
        ("a - b", "a - b"),
        ("", ""),
    ],
)
def test_a_formula_becomes_text_and_a_number_stays_one(value: object, cell: str) -> None:
    assert csv_text([[value, "x"]]) == f"{cell},x\r\n"
