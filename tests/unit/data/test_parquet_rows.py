"""Parquet: columns of any type to text, with exact row numbers over row groups."""

import decimal
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.data.parquet_rows import parquet_blocks
from baldistill.data.rows import BadRow

COLUMNS = {"question": "q", "answer": "a", "domain": "d"}


def parse(
    table: pa.Table, columns: dict[str, str] = COLUMNS, group_rows: int = 3
) -> tuple[dict[int, Any], list[BadRow]]:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group_rows)
    file = pq.ParquetFile(sink)
    rows: dict[int, Any] = {}
    bad: list[BadRow] = []
    first = file.metadata.row_group(0).num_rows
    for groups, row in ([0], 1), (range(1, file.num_row_groups), first + 1):
        for block in parquet_blocks(file, groups, row, columns):
            for i, number in enumerate(block.rows):
                rows[int(number)] = [column[i].as_py() for column in block.columns.values()]
                if block.choices is not None:
                    rows[int(number)].append(block.choices[i].as_py())
            bad += block.bad
    return rows, bad


def test_invalid_utf8_in_a_string_column() -> None:
    binary = pa.array([b"ok", b"\xff", None, b"fine", b"\xc3"], pa.binary())
    buffers = binary.buffers()
    strings = pa.StringArray.from_buffers(len(binary), buffers[1], buffers[2], buffers[0])
    table = pa.table({"q": strings, "a": ["1"] * 5, "d": ["D"] * 5, "unread": [None] * 5})
    rows, bad = parse(table)
    assert [(item.row, item.reason) for item in bad] == [(2, "invalid_utf8"), (5, "invalid_utf8")]
    assert {row: values[0] for row, values in rows.items()} == {1: "ok", 3: None, 4: "fine"}


def test_types() -> None:
    table = pa.table(
        {
            "q": pa.array(["x", None, "y", "z"]).dictionary_encode(),
            "a": pa.array([1.0, 2.5, float("nan"), None]),
            "d": pa.array([decimal.Decimal("1.50")] * 4),
        }
    )
    rows, bad = parse(table)
    assert not bad
    assert list(rows.values()) == [
        ["x", "1", "1.50"],
        [None, "2.5", "1.50"],
        ["y", None, "1.50"],
        ["z", None, "1.50"],
    ]


def test_integers_booleans_and_lists() -> None:
    table = pa.table(
        {
            "q": pa.array([["x"], None, ["y"], None]),
            "a": pa.array([1, 2, 3, 4], pa.uint8()),
            "d": pa.array([True, False, True, False]),
        }
    )
    rows, bad = parse(table)
    assert rows == {2: [None, "2", "false"], 4: [None, "4", "false"]}
    assert [(item.row, item.reason, item.detail) for item in bad] == [
        (1, "wrong_type", "`q` is a list"),
        (3, "wrong_type", "`q` is a list"),
    ]


def test_choices() -> None:
    table = pa.table(
        {
            "q": ["Q"] * 4,
            "a": ["A"] * 4,
            "d": ["D"] * 4,
            "c": pa.array([["x", "y"], None, ["x", None], []], pa.large_list(pa.string())),
        }
    )
    rows, bad = parse(table, {**COLUMNS, "choices": "c"})
    assert {row: values[3] for row, values in rows.items()} == {1: ["x", "y"], 2: None, 4: []}
    assert [(item.row, item.reason) for item in bad] == [(3, "wrong_type")]
