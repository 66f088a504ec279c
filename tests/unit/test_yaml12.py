"""YAML as the package reads and writes it: version 1.2, errors with their place."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import ENCODABLE

from baldistill.yaml12 import NotYamlError, read_yaml, write_yaml

LETTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\t:#-'\"\x85\u2028")
TEXT = st.text(LETTERS, max_size=100) | ENCODABLE
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("no", "No", "off", "on", "y", "yes", "12:30", "1:2:3.5")],
        *[(word, word) for word in ("2026-11-27", "=", "0o8", "1e", "e5", "1.2.3")],
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("0o14", 12),
        ("014", 14),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1e-3", 1e-3),
        ("1E4", 1e4),
        ("2.5e-5", 2.5e-5),
        (".5", 0.5),
        ("-.5", -0.5),
        ("-.inf", -math.inf),
        ("'12'", "12"),
        ("{on: off, 1: x}", {"on": "off", 1: "x"}),
        (
            "a: &x {p: 1}\nb: *x\nc: {<<: *x, q: 2}",
            {"a": {"p": 1}, "b": {"p": 1}, "c": {"p": 1, "q": 2}},
        ),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    read = read_yaml(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ['duplicate key "a"', "line 3, column 1"]),
        ("a: [1", ["expected ',' or ']'", "line 1, column 6"]),
        ("a: 1\n b: 2", ["mapping values are not allowed here", "line 2, column 3"]),
        ("a: *x", ["undefined alias 'x'", "line 1, column 4"]),
        ("a: 1\n--- b", ["another document", "line 2, column 1"]),
        ("a: !!python/name:os.system x", ["python/name:os.system", "line 1, column 4"]),
        ("a: -_", ["invalid literal"]),
        ("a: \x07", ["special characters are not allowed"]),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, words: list[str]) -> None:
    with pytest.raises(NotYamlError) as caught:
        read_yaml(text)
    for word in words:
        assert word in str(caught.value)
    assert "suppress" not in str(caught.value)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert read_yaml(write_yaml(value)) == value


def test_written_yaml_keeps_order_and_long_lines() -> None:
    path = "s3://bucket/" + "folder/" * 20
    text = write_yaml({"b": path, "a": [1, 2e-5], "c": {}, "d": None})
    assert text == f"b: {path}\na:\n- 1\n- 2.0e-05\nc: {{}}\nd: null\n"


@given(TEXT)
def test_json_is_yaml(text: str) -> None:
    key = text[:80]  # in YAML a key in `{}` has at most 1,024 characters, here escapes of twelve
    assert read_yaml(json.dumps({key: [text]})) == {key: [text]}


@pytest.mark.parametrize("text", [r'"\ud800"', r'"\udc00\ud800"', r'{"a\ud83d": 1}'])
def test_half_of_a_surrogate_pair_is_no_text(text: str) -> None:
    with pytest.raises(NotYamlError, match="half of a surrogate pair"):
        read_yaml(text)
