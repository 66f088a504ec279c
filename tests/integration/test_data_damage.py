"""Real corpora with one row in a hundred damaged, in ten ways: exactly those rows are found."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baldistill.config import DataConfig
from baldistill.data.prepare import prepare_corpus
from baldistill.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

SHARED = Path(
    os.environ.get("BALDISTILL_SHARED_DATA")
    or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
COLUMNS = {"split": "split", "id": "id"}
Row = dict[str, Any]


def _change(**values: Any) -> Callable[[Row, Row], Row]:
    return lambda row, _: {**row, **values}


# each takes the row and the first row of the file
IN_ANY_FORMAT: list[tuple[str, Callable[[Row, Row], Row]]] = [
    ("missing", _change(question=None)),
    ("missing", _change(id=None)),
    ("empty", _change(answer="")),
    ("empty", _change(domain=" \t\n")),
    ("empty", _change(question="\x00\x01\x02")),
    ("question_too_long", _change(question="long " * 5000)),
    ("answer_too_long", _change(answer="1" * 4001)),
    ("unknown_split", _change(split="holdout")),
    ("duplicate", lambda row, first: {**first, "id": row["id"]}),
]
IN_JSONL: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("malformed_json", lambda line: line[:-5]),
    ("not_an_object", lambda line: b"[" + line + b"]"),
    ("invalid_utf8", lambda line: line.replace(b'"question": "', b'"question": "\xff\xfe')),
    ("wrong_type", lambda line: line.replace(b'"answer": "', b'"answer": {"x": 1}, "old": "')),
    ("missing", lambda line: line.replace(b'"domain"', b'"domian"')),
]


def write_jsonl(path: Path, rows: list[Row], damage: dict[int, Callable[[bytes], bytes]]) -> None:
    with path.open("wb") as file:
        for index, row in enumerate(rows):
            line = json.dumps(row, ensure_ascii=False).encode()
            file.write(damage.get(index, bytes)(line) + b"\n")


def write_parquet(path: Path, rows: list[Row], invalid: set[int]) -> None:
    table = pa.Table.from_pylist(rows)
    questions = [
        b"\xff" + text.encode() if index in invalid else text and text.encode()
        for index, text in enumerate(table["question"].to_pylist())
    ]
    data = pa.array(questions, pa.binary())
    validity, offsets, values = data.buffers()
    strings = pa.StringArray.from_buffers(len(data), offsets, values, validity)
    table = table.set_column(table.column_names.index("question"), "question", strings)
    pq.write_table(table, path, row_group_size=1000)


def quarantined(path: Path, folder: Path) -> dict[int, str]:
    storage = Storage.open(folder)
    config = DataConfig.model_validate({"train": str(path), "columns": COLUMNS})
    summary = prepare_corpus(config, 0, storage)
    rows = storage.read_table("quarantine").to_pylist()
    assert len(rows) == sum(summary.quarantined.values())
    assert {row["file"] for row in rows} == {str(path)}
    return {row["row"]: row["reason"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", ["cot12_longtail", "r8"])
def test_exactly_the_damaged_rows_are_quarantined(name: str, ending: str, tmp_path: Path) -> None:
    source = SHARED / f"{name}.parquet"
    if not source.exists():
        pytest.skip(f"{source} is absent")
    rows: list[Row] = pq.read_table(source).to_pylist()
    path = tmp_path / f"corpus.{ending}"
    if ending == "jsonl":
        write_jsonl(path, rows, {})
    else:
        write_parquet(path, rows, set())
    before = quarantined(path, tmp_path / "before")
    assert set(before.values()) <= {"duplicate", "in_evaluation_set"}

    # a damaged row must not be the original of a duplicate, nor a held-out question
    texts = [row["question"].strip() for row in rows]
    taken = {texts[row - 1] for row in before} | {texts[0]}
    free = [i for i, text in enumerate(texts) if text not in taken]
    expected, raw = dict(before), {}
    damaged = list(rows)
    invalid: set[int] = set()
    first_train = next(i for i, row in enumerate(rows) if row["split"] == "train")
    for n, index in enumerate(sorted(random.Random(7).sample(free, len(rows) // 100))):
        if index <= first_train:
            continue
        kinds = len(IN_ANY_FORMAT) + (len(IN_JSONL) if ending == "jsonl" else 1)
        kind = n % kinds
        if kind < len(IN_ANY_FORMAT):
            reason, change = IN_ANY_FORMAT[kind]
            damaged[index] = change(rows[index], rows[first_train])
        elif ending == "jsonl":
            reason, raw[index] = IN_JSONL[kind - len(IN_ANY_FORMAT)]
        else:
            reason = "invalid_utf8"
            invalid.add(index)
        expected[index + 1] = reason
    assert len(expected) - len(before) >= len(rows) // 100 - 1

    if ending == "jsonl":
        write_jsonl(path, damaged, raw)
    else:
        write_parquet(path, damaged, invalid)
    assert quarantined(path, tmp_path / "after") == expected
