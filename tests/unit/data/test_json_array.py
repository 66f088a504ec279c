"""JSON arrays become lines, however they are written and wherever the blocks are cut."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.json_array import array_as_lines, elements_of
from baldistill.data.json_lines import parse_lines
from baldistill.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
STYLES = st.sampled_from(
    [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": "\t"}]
)


def lines_of(data: bytes, block_bytes: int = 7) -> list[bytes]:
    return b"".join(array_as_lines(io.BytesIO(data), block_bytes)).splitlines()


@given(st.lists(VALUES, max_size=6), STYLES, st.integers(1, 50), st.booleans())
def test_elements_are_lines(
    values: list[Any], style: dict[str, Any], block_bytes: int, with_mark: bool
) -> None:
    data = json.dumps(values, **style).replace("\n", "\r\n").encode("utf-8")
    data = b"\xef\xbb\xbf" * with_mark + data + b"\n"
    blocks = list(array_as_lines(io.BytesIO(data), block_bytes))
    assert all(block.endswith(b"\n") for block in blocks)
    lines = b"".join(blocks).split(b"\n")[:-1]
    assert [json.loads(line) for line in lines] == values
    assert list(elements_of(data)) == values


def test_a_string_keeps_its_line_ends_and_numbers_are_whole() -> None:
    assert lines_of(b'[ {"a":\n "x\\ny\xe2\x80\xa8"} ,12345678901234567890]', 3) == [
        b'{"a":  "x\\ny\xe2\x80\xa8"}',
        b"12345678901234567890",
    ]
    assert lines_of(b"[]") == lines_of(b" [ \n ] ") == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'[{"a": 1}, {"a": 2', "element 2 .* is malformed"),
        (b'[{"a": 1} {"a": 2}]', "no comma or `]` behind element 1"),
        (b'[{"a": 1}, ', "element 2 .* is malformed"),
        (b'[{"a": 1}', "no comma or `]` behind element 1"),
        (b"[", "does not end"),
        (b'[{"a": nonsense}, {"a": 2}]', "element 1 .* is malformed"),
        (b"[" + b"[" * 100_000, "element 1 .* nested too deep|element 1 .* malformed"),
        (b'{"a": 1}', "no JSON array"),
    ],
)
def test_what_is_malformed_is_said_with_its_number(data: bytes, problem: str) -> None:
    for block_bytes in (1, 5, 1 << 20) if len(data) < 100 else (1 << 20,):
        with pytest.raises(DataError, match=problem):
            lines_of(data, block_bytes)


def test_bytes_that_are_no_text_are_bad_rows_and_the_others_good() -> None:
    data = b'[{"q": "a"}, {"q": "\xff"}, {"q": "b"}]'
    lines = b"".join(array_as_lines(io.BytesIO(data), 4))
    blocks = list(parse_lines(lines, 1, {"question": "q"}))
    assert [text for b in blocks for text in b.columns["question"].to_pylist()] == ["a", "b"]
    assert [(bad.row, bad.reason) for b in blocks for bad in b.bad] == [(2, "invalid_utf8")]
