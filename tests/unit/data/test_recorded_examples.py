"""Recorded new examples: read as a corpus is, bad rows with place and reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baldistill.config import DataConfig
from baldistill.data.recorded_examples import (
    RecordedSummary,
    find_recorded,
    prepare_recorded,
    read_recorded,
)
from baldistill.errors import DataError
from baldistill.storage import Storage

NAMES = ["domain", "question", "answer", "rationale"]
ROWS = [
    {"domain": f"d{i % 3}", "question": f"What, {i}?", "answer": str(i), "rationale": f"So\n{i}."}
    for i in range(30)
]


def write(path: Path, rows: Sequence[Mapping[str, str | None]]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=7)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, NAMES)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_every_format_gives_the_same_rows_in_their_order(ending: str, tmp_path: Path) -> None:
    rows: list[dict[str, str | None]] = [dict(row) for row in ROWS]
    rows[4]["rationale"] = "" if ending == "csv" else None
    rows[8]["question"] = "x" * 50
    source = write(tmp_path / f"new.{ending}", rows)
    storage = Storage.open(tmp_path / "run")
    limits = DataConfig(max_bad_fraction=0.5, max_question_chars=20)
    summary = prepare_recorded({2: source}, limits, storage)
    missing = "empty" if ending == "csv" else "missing"
    bad = {missing: 1, "question_too_long": 1}
    assert summary == RecordedSummary({"d0": 10, "d1": 9, "d2": 9}, bad)
    found = read_recorded(storage, 2, ["d2", "d0", "elsewhere"])
    told = [(row.domain, row.question, row.answer, row.rationale) for row in found]
    assert told == [
        tuple(row[name] for name in NAMES)
        for i, row in enumerate(ROWS)
        if row["domain"] != "d1" and i != 8
    ]
    numbers = [row.number for row in found]
    assert numbers == sorted(set(numbers))
    left_out = storage.read_table("recorded/02-quarantine.parquet").to_pylist()
    assert [(row["file"], row["row"], row["reason"]) for row in left_out] == [
        (source, 5, missing),
        (source, 9, "question_too_long"),
    ]


def test_lines_that_are_no_rows_are_left_out_with_their_number(tmp_path: Path) -> None:
    path, storage = tmp_path / "new.jsonl", Storage.open(tmp_path / "run")
    lines = [json.dumps(ROWS[0]), "{broken", json.dumps({**ROWS[1], "answer": ["a", "list"]}), "7"]
    path.write_text("\n".join([*lines, json.dumps(ROWS[2])]))
    summary = prepare_recorded({1: str(path)}, DataConfig(max_bad_fraction=0.6), storage)
    assert summary.counts == {"d0": 1, "d2": 1}
    left_out = storage.read_table("recorded/01-quarantine.parquet").to_pylist()
    assert [(row["row"], row["reason"]) for row in left_out] == [
        (2, "malformed_json"),
        (3, "wrong_type"),
        (4, "not_an_object"),
    ]


def test_mistakes_are_named_with_the_way_out(tmp_path: Path) -> None:
    storage, lenient = Storage.open(tmp_path / "run"), DataConfig(max_bad_fraction=0.5)
    with pytest.raises(DataError, match=r"teacher\.synthetic: .*nowhere\.csv does not exist"):
        find_recorded(str(tmp_path / "nowhere.csv"))
    (tmp_path / "new.txt").write_text("text")
    with pytest.raises(DataError, match=r"teacher\.synthetic: .* give it one"):
        find_recorded(str(tmp_path / "new.txt"))
    renamed = [{"Rationales": row["rationale"], **row} for row in ROWS]
    for renamed_row in renamed:
        del renamed_row["rationale"]
    source = write(tmp_path / "new.jsonl", renamed)
    with pytest.raises(DataError, match=r"did you mean `Rationales`.*Name it `rationale` in the"):
        find_recorded(source)
    blank = [{**row, "answer": " "} if i % 3 else row for i, row in enumerate(ROWS)]
    source = write(tmp_path / "bad.jsonl", blank)
    with pytest.raises(DataError, match="20 of 30 rows cannot be used") as error:
        prepare_recorded({1: source}, lenient, storage)
    assert f"{source}, row 2: empty: the answer is empty" in str(error.value)
    assert "allow it with data.max_bad_fraction=0.67" in str(error.value)
    assert len(storage.read_table("recorded/01-quarantine.parquet")) == 20, "to be looked at"
    source = str(tmp_path / "none.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[:1]).slice(0, 0), source)
    with pytest.raises(DataError, match="has no rows"):
        prepare_recorded({1: source}, lenient, storage)
