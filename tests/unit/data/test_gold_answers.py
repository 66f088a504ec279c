"""Lists of acceptable answers: the first is the gold answer, and the others count as it does."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.config import DataConfig
from baldistill.data.gold_answers import ALTERNATIVES, LIST, clean
from baldistill.data.json_lines import parse_lines
from baldistill.data.parquet_rows import parquet_blocks
from baldistill.data.rows import BadRow, RawBlock, mapped_columns
from baldistill.data.validate import check

COLUMNS = mapped_columns(DataConfig(), "train")
Found = tuple[str | None, list[str] | None]


def row(answer: Any) -> dict[str, Any]:
    return {"question": "Q", "answer": answer, "domain": "D"}


def found_in(blocks: list[RawBlock]) -> tuple[dict[int, Found], list[BadRow]]:
    """Answer and alternatives of each good row, and the bad rows."""
    rows: dict[int, Found] = {}
    for block in blocks:
        further = block.extra.get(ALTERNATIVES, pa.nulls(len(block.rows), LIST))
        answers = zip(block.columns["answer"].to_pylist(), further.to_pylist(), strict=True)
        rows |= {int(n): pair for n, pair in zip(block.rows, answers, strict=True)}
    return rows, [bad for block in blocks for bad in block.bad]


def json_lines(rows: list[Any]) -> tuple[dict[int, Found], list[BadRow]]:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return found_in(list(parse_lines(data, 1, COLUMNS)))


def parquet(answers: pa.Array) -> tuple[dict[int, Found], list[BadRow]]:
    sink = io.BytesIO()
    names = {"question": ["Q"] * len(answers), "domain": ["D"] * len(answers)}
    pq.write_table(pa.table({**names, "answer": answers}), sink)
    return found_in(list(parquet_blocks(pq.ParquetFile(sink), [0], 1, COLUMNS)))


lists = st.lists(st.one_of(st.text(max_size=3), st.none()), max_size=4)


@given(st.lists(st.one_of(st.none(), lists), min_size=1, max_size=200))
def test_json_lines_and_parquet_say_the_same(answers: list[Any]) -> None:
    answers = [*answers, *[["a", "b"]] * 70]  # so many that blocks go through Arrow
    expected = {
        n: (None, None) if texts is None else (texts[0], texts[1:] or None)
        for n, texts in enumerate(answers, 1)
        if texts is None or (texts and None not in texts)
    }
    good, bad = json_lines([row(texts) for texts in answers])
    assert good == expected
    assert {item.row for item in bad} == set(range(1, len(answers) + 1)) - expected.keys()
    assert {item.reason for item in bad} <= {"wrong_type"}
    again, bad_again = parquet(pa.array(answers, LIST))
    assert again == expected
    assert [(item.row, item.detail) for item in bad_again] == [
        (item.row, item.detail) for item in bad
    ]


def test_texts_and_lists_in_one_file() -> None:
    good, bad = json_lines([row(v) for v in ("a", ["b", 2], [True], 3, [["c"]], {"x": 1}, [])])
    assert good == {1: ("a", None), 2: ("b", ["2"]), 3: ("true", None), 4: ("3", None)}
    assert [(item.row, item.detail) for item in bad] == [
        (5, "`answer` is a list with a list in it"),
        (6, "`answer` is an object"),
        (7, "`answer` is an empty list of answers"),
    ]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.large_string(), pa.bool_()])
def test_lists_of_any_values(kind: pa.DataType) -> None:
    values = pa.array([1, 2, 3]).cast(kind)
    column = pa.ListArray.from_arrays([0, 1, 3], values)
    texts = {pa.bool_(): ("true", ["true"])}.get(kind, ("2", ["3"]))
    assert parquet(column)[0] == {1: (texts[1][0] if kind == pa.bool_() else "1", None), 2: texts}
    assert parquet(column.cast(pa.large_list(kind)))[0][2] == texts


def test_alternatives_are_normalised_and_neither_blank_nor_repeated() -> None:
    further = pa.array([[" b\r\n", "b", "a ", "\u200b"], None, ["a"], ["e\u0301"]], LIST)
    found = clean(further, pa.array(["a", "x", "a", "x"]))
    assert found.to_pylist() == [["b"], None, None, ["\u00e9"]]
    assert clean(further.slice(2), pa.array(["x", "x"])).to_pylist() == [["a"], ["\u00e9"]]


def test_checks_of_alternatives() -> None:
    columns = {name: pa.array(["x"] * 4) for name in ("question", "answer", "domain")}
    further = pa.array([["long" * 9], ["y"], ["z"], None], LIST)
    choices = pa.array([None, ["x", "y"], ["x", "y"], None], LIST)
    block = RawBlock(np.arange(1, 5), columns, choices, extra={ALTERNATIVES: further})
    staged, bad = check(block, DataConfig(max_answer_chars=9), "train", 0)
    assert [(item.row, item.reason) for item in bad] == [
        (1, "answer_too_long"),
        (3, "answer_not_in_choices"),
    ]
    assert staged[ALTERNATIVES].to_pylist() == [["y"], None]
