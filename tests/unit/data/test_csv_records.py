"""CSV: record numbers are exact across quoted line ends, blank lines and malformed records."""

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data import csv_records
from baldistill.data.csv_records import csv_blocks
from baldistill.data.rows import BadRow

COLUMNS = {"question": "q", "answer": "a", "domain": "d"}


def parse(data: bytes, columns: dict[str, str] = COLUMNS) -> tuple[dict[int, Any], list[BadRow]]:
    rows: dict[int, Any] = {}
    bad: list[BadRow] = []
    for block in csv_blocks(io.BytesIO(data), ",", columns):
        for i, row in enumerate(block.rows):
            rows[int(row)] = [column[i].as_py() for column in block.columns.values()]
            if block.choices is not None:
                rows[int(row)].append(block.choices[i].as_py())
        bad += block.bad
    return rows, bad


def test_damage_has_its_record_number() -> None:
    data = (
        b"\xef\xbb\xbfd,q,extra,a\r\n"
        b'D,"two\r\nlines, one record",,1\r\n'
        b"\r\n"
        b"D,too few\r\n"
        b"D,too,many,fields,here\r\n"
        b"D,bad \xff byte,,1\r\n"
        b"D,last,,2"
    )
    rows, bad = parse(data)
    assert rows == {1: ["two\r\nlines, one record", "1", "D"], 5: ["last", "2", "D"]}
    assert [(item.row, item.reason) for item in bad] == [
        (2, "wrong_field_count"),
        (3, "wrong_field_count"),
        (4, "invalid_utf8"),
    ]
    assert "0xff" in bad[2].detail


def test_a_quote_that_is_never_closed_costs_one_record_at_most(monkeypatch: Any) -> None:
    for most in (100, 1 << 20):  # the field becomes too long, or the file ends
        monkeypatch.setattr(csv_records, "_MAX_FIELD_CHARS", most)
        data = b'd,q,a\nD,first,1\nD,"open,1\n' + b"D,swallowed,1\n" * 20 + b"D,last,1\n"
        rows, bad = parse(data)
        assert [(item.row, item.reason) for item in bad] == [(2, "malformed_csv")]
        assert bad[0].content == 'D,"open,1'
        assert rows[1] == ["first", "1", "D"]
        assert [rows[row] for row in range(3, 23)] == [["swallowed", "1", "D"]] * 20
        assert rows[max(rows)] == ["last", "1", "D"]
        assert len(rows) + len(bad) == 23


@given(
    kinds=st.lists(
        st.sampled_from(["plain", "quoted", "two lines", "stray", "stray at the end"]), max_size=30
    )
)
def test_stray_quotes_cost_their_own_lines_alone(kinds: list[str]) -> None:
    texts = {"plain": "x", "quoted": '"a ""b"", c"', "two lines": '"a,\nb"', "stray": '"open'}
    lines = [
        f'D,{i},"open' if kind == "stray at the end" else f"D,{texts[kind]},{i}"
        for i, kind in enumerate(kinds)
    ]
    rows, bad = parse("\n".join(["d,q,a", *lines, ""]).encode())
    strays = [row for row, kind in enumerate(kinds, start=1) if kind.startswith("stray")]
    assert [(item.row, item.reason) for item in bad] == [(row, "malformed_csv") for row in strays]
    assert {row: int(values[1]) for row, values in rows.items()} == {
        row: row - 1 for row in range(1, len(kinds) + 1) if row not in strays
    }


def test_odd_quotes_within_a_line_are_text() -> None:
    rows, bad = parse(b'd,q,a\nD,"5" disk,1\nD,a 5" disk,2\n')
    assert rows == {1: ["5 disk", "1", "D"], 2: ['a 5" disk', "2", "D"]}
    assert not bad


def test_choices_are_json_lists() -> None:
    data = b'q,a,d,c\nQ,x,D,"[""x"", 2]"\nQ,x,D,\nQ,x,D,x|y\n'
    rows, bad = parse(data, {**COLUMNS, "choices": "c"})
    assert rows == {1: ["Q", "x", "D", ["x", "2"]], 2: ["Q", "x", "D", None]}
    assert [(item.row, item.reason) for item in bad] == [(3, "wrong_type")]


def test_many_blocks_and_arrow_streams(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"q,a,d\n" + b"Q,A,D\n" * 10_000))
    with pafs.LocalFileSystem().open_input_stream(str(path), compression="gzip") as stream:
        rows = [int(row) for block in csv_blocks(stream, ",", COLUMNS) for row in block.rows]
    assert rows == list(range(1, 10_001))
