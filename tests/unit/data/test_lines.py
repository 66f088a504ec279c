"""Byte ranges: wherever a file is cut, each line is read once and keeps its number."""

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data import lines
from baldistill.data.json_lines import parse_lines
from baldistill.data.lines import count_lines, line_blocks
from baldistill.errors import DataError

COLUMNS = {"question": "q", "answer": "a", "domain": "d"}
some_lines = st.lists(
    st.sampled_from(
        [
            b'{"q": "one", "a": "1", "d": "x"}',
            b'{"q": "two", "a": 2, "d": "x"}\r',
            b"",
            b"  ",
            b"not json",
            b'{"q": "a long question, longer than a block"}',
            b"[1, 2]",
        ]
    ),
    max_size=12,
)


def read_rows(data: bytes, cuts: list[int], block_bytes: int) -> list[tuple[int, str]]:
    """(row, content) of every row, good or bad, of a file read in ranges."""
    bounds = [0, *sorted(cuts), len(data)]
    rows: list[tuple[int, str]] = []
    row = 1
    for start, stop in pairwise(bounds):
        first = row
        for block in line_blocks(io.BytesIO(data), start, stop, block_bytes):
            for raw in parse_lines(block, row, COLUMNS):
                rows += [(int(n), raw.content(i)) for i, n in enumerate(raw.rows)]
                rows += [(bad.row, bad.content) for bad in raw.bad]
            row += block.count(b"\n")
        assert count_lines(io.BytesIO(data), start, stop) in (row - first, row - first + 1)
    return sorted(rows)


@given(some_lines, st.booleans(), st.lists(st.integers(0, 300), max_size=6), st.integers(1, 64))
def test_any_cut_gives_the_same_rows_and_numbers(
    parts: list[bytes], ends_in_newline: bool, cuts: list[int], block_bytes: int
) -> None:
    data = b"\n".join(parts) + (b"\n" if ends_in_newline else b"")
    expected = [
        (number, line.decode().rstrip("\r"))
        for number, line in enumerate(data.split(b"\n"), 1)
        if line.strip()
    ]
    cuts = [min(cut, len(data)) for cut in cuts]
    assert read_rows(data, cuts, block_bytes) == expected
    assert read_rows(data, [], 1 << 20) == expected


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5), st.integers(1, 9))
def test_ranges_cover_every_byte_once(data: bytes, cuts: list[int], block_bytes: int) -> None:
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [
        block
        for start, stop in pairwise(bounds)
        for block in line_blocks(io.BytesIO(data), start, stop, block_bytes)
    ]
    assert b"".join(pieces) == data


def test_a_last_line_without_newline_is_counted() -> None:
    assert count_lines(io.BytesIO(b"a\nb"), 0, None) == 2
    assert count_lines(io.BytesIO(b"a\nb\n"), 0, 4) == 2
    assert count_lines(io.BytesIO(b""), 0, 0) == 0


def test_a_line_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    with pytest.raises(DataError, match="begins at byte 2 is longer"):
        list(line_blocks(io.BytesIO(b"a\n" + b"x" * 500), 0, None, block_bytes=50))
