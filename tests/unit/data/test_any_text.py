"""Every row is kept as it is or goes to quarantine with a reason, whatever Unicode is in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from texts import ANY_TEXT, ENCODABLE

from baldistill.config import DataConfig
from baldistill.data.csv_records import csv_blocks
from baldistill.data.json_lines import parse_lines
from baldistill.data.rows import BadRow, RawBlock, mapped_columns, quarantine_table
from baldistill.data.text import normalise
from baldistill.data.validate import check

NAMES = ("question", "answer", "domain", "id")
CONFIG = DataConfig.model_validate(
    {"columns": {name: name for name in (*NAMES, "choices")}, "max_question_chars": 100_000}
)
COLUMNS = mapped_columns(CONFIG, "evaluation")
ROW = st.fixed_dictionaries(
    dict.fromkeys(NAMES, ENCODABLE | ANY_TEXT) | {"choices": st.lists(ANY_TEXT, max_size=2)}
)
ROWS = st.lists(ROW, min_size=1, max_size=3)
PLAIN = {"question": "Q", "answer": "A", "domain": "D", "id": "i", "choices": ["A"]}
FAULTS = {"invalid_utf8", "empty", "domain_too_long", "id_too_long", "answer_not_in_choices"}


def staged(blocks: Iterable[RawBlock]) -> tuple[dict[int, dict[str, Any]], list[BadRow]]:
    """Valid rows by number, and bad ones, both through the files that a run writes them to."""
    good: dict[int, dict[str, Any]] = {}
    bad: list[BadRow] = []
    for block in blocks:
        table, faults = check(block, CONFIG, "evaluation", 0)
        for row in written(table).to_pylist():
            good[row["position"]] = row
        assert len(written(quarantine_table(["f"] * len(faults), faults))) == len(faults)
        bad += faults
    return good, bad


def written(table: pa.Table) -> pa.Table:
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    read = pq.read_table(pa.BufferReader(file.getvalue()))
    read.validate(full=True)
    return read


def assert_all_there(
    rows: list[dict[str, Any]], good: dict[int, dict[str, Any]], bad: list[BadRow]
) -> None:
    numbers = {fault.row for fault in bad}
    assert len(good) + len(bad) == len(rows)
    assert numbers.isdisjoint(good)
    assert {fault.reason for fault in bad} <= FAULTS
    for number, row in enumerate(rows, start=1):
        if number in good:
            for ours, name in (("example_id", "id"), ("answer", "answer"), ("domain", "domain")):
                given = normalise(pa.array([whole(row[name])]))[0].as_py()
                assert good[number][ours] == given


def whole(text: str) -> str:
    """The characters that pairs of JSON's escapes stand for; a half of one raises."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


@given(ROWS, st.booleans())
def test_json_lines(rows: list[dict[str, Any]], escaped: bool) -> None:
    rows = [PLAIN, *rows]  # the first line decides how Arrow reads the block
    lines = [json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows]
    data = "".join(lines).encode("utf-8", "surrogatepass")
    assert_all_there(rows, *staged(parse_lines(data, 1, COLUMNS)))


@given(ROWS)
def test_csv(rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*NAMES, "choices"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({**row, "choices": json.dumps(row["choices"])} for row in rows)
    data = text.getvalue().encode("utf-8", "surrogatepass")
    assert_all_there(rows, *staged(csv_blocks(io.BytesIO(data), ",", COLUMNS)))
