"""JSONL: the fast way and the slow way agree, and each kind of damage has its reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data import json_lines
from baldistill.data.json_lines import parse_lines
from baldistill.data.rows import BadRow

COLUMNS = {"question": "q", "answer": "a", "domain": "d"}


def parse(data: bytes, columns: dict[str, str] = COLUMNS) -> tuple[dict[int, Any], list[BadRow]]:
    rows: dict[int, Any] = {}
    bad: list[BadRow] = []
    for block in parse_lines(data, 1, columns):
        for i, row in enumerate(block.rows):
            rows[int(row)] = {name: column[i].as_py() for name, column in block.columns.items()}
            if block.choices is not None:
                rows[int(row)]["choices"] = block.choices[i].as_py()
        bad += block.bad
    return rows, bad


GOOD = b'{"q": "Q", "a": "A", "d": "D"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"q": "Q", "a"', "malformed_json"),
        (b'{"q": "Q", "a": "A", "d": "D"} {"q": "Q", "a": "A", "d": "D"}', "malformed_json"),
        (b'{"q": "raw \x00 NUL", "a": "A", "d": "D"}', "malformed_json"),
        (b"[1, 2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"q": "\xff", "a": "A", "d": "D"}', "invalid_utf8"),
        (b'{"q": "\\ud800", "a": "A", "d": "D"}', "invalid_utf8"),
        (b'{"q": ["Q"], "a": "A", "d": "D"}', "wrong_type"),
        (b'{"q": "Q", "a": {"x": 1}, "d": "D"}', "wrong_type"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"q": ' + b"9" * 5000 + b', "a": "A", "d": "D"}', "malformed_json"),
    ],
)
@pytest.mark.parametrize("num_before", [0, 3, 200])
def test_damage_has_its_row_and_reason(line: bytes, reason: str, num_before: int) -> None:
    data = b"\n".join([*[GOOD] * num_before, line, b"", GOOD, GOOD])
    rows, bad = parse(data)
    assert [(item.row, item.reason) for item in bad] == [(num_before + 1, reason)]
    assert list(rows) == [*range(1, num_before + 1), num_before + 3, num_before + 4]
    assert len(bad[0].content) <= 500


def test_objects_that_are_not_one_a_line_are_not_mistaken_for_rows() -> None:
    two_in_one = b'{"q": "1", "a": "A", "d": "D"} {"q": "2", "a": "A", "d": "D"}'
    rows, bad = parse(b"\n".join([two_in_one, b"", GOOD, b'{"q": "3",', b'"a": "A", "d": "D"}']))
    assert list(rows) == [3]
    assert [item.row for item in bad] == [1, 4, 5]


def test_numbers_and_booleans_become_text() -> None:
    lines = [
        {"q": "Q", "a": 42, "d": True},
        {"q": "Q", "a": 12.0, "d": "D"},
        {"q": "Q", "a": 0.1, "d": False},
        {"q": "Q", "a": None},
        {"q": "Q", "a": float("nan"), "d": 10**30},
    ]
    rows, bad = parse("\n".join(json.dumps(line) for line in lines).encode())
    assert not bad
    assert [row["answer"] for row in rows.values()] == ["42", "12", "0.1", None, None]
    assert [row["domain"] for row in rows.values()] == ["true", "D", "false", None, str(10**30)]


def test_choices() -> None:
    lines: list[Any] = [["x", 2, True], None, "x", ["x", None], [["x"]], []]
    data = "\n".join(json.dumps({"q": "Q", "a": "A", "d": "D", "c": c}) for c in lines)
    rows, bad = parse(data.encode(), {**COLUMNS, "choices": "c"})
    assert {row: values["choices"] for row, values in rows.items()} == {
        1: ["x", "2", "true"],
        2: None,
        6: [],
    }
    assert [(item.row, item.reason) for item in bad] == [(n, "wrong_type") for n in (3, 4, 5)]


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
)
objects = st.fixed_dictionaries(
    {"q": st.text(max_size=8), "a": values}, optional={"d": values, "x": values}
)


@given(st.lists(objects, max_size=20), st.integers(1, 4))
def test_the_fast_way_equals_the_slow_way(items: list[Any], few: int) -> None:
    data = "\n".join(json.dumps(item) for item in items).encode()
    slow = {
        number: json_lines.parse_line(line, number, COLUMNS, json_lines.readers_of(COLUMNS))
        for number, line in enumerate(data.split(b"\n"), 1)
        if line
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "_FEW_LINES", few)
        rows, bad = parse(data)
    assert rows == {n: found for n, found in slow.items() if not isinstance(found, BadRow)}
    assert bad == [found for found in slow.values() if isinstance(found, BadRow)]
