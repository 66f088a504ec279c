"""The file of `data domains --out` holds all that the user's file held of each row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baldistill.commands.inspect_domains import write_rows
from baldistill.errors import UserError
from baldistill.records import EXAMPLES, with_optional
from baldistill.run_folder import layout
from baldistill.storage import Storage

BEFORE = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def corpus(folder: Path) -> Storage:
    storage = Storage.open(folder)
    schema = with_optional(EXAMPLES, ["alternatives", "context"])
    for part, question in ((layout.TRAIN, "Why?"), (layout.EVALUATION, "How?")):
        row = {"example_id": part, "domain": "d", "question": question, "answer": "a"}
        rows = [{**row, "alternatives": ["b"], "context": BEFORE}, {**row, "context": None}]
        storage.write_table(f"{part}/0.parquet", pa.Table.from_pylist(rows, schema))
    return storage


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_lists_of_answers_and_chats_are_written_as_a_file_has_them(
    tmp_path: Path, ending: str
) -> None:
    out = tmp_path / "new" / f"rows.{ending}"
    write_rows(corpus(tmp_path / "run"), out)
    if ending == "parquet":
        rows = pq.read_table(out).to_pylist()
    else:
        rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["split"] for row in rows] == ["train"] * 2 + ["evaluation"] * 2
    assert [row["answer"] for row in rows[:2]] == [["a", "b"], ["a"]]
    asked = {"role": "user", "content": "Why?"}
    assert [row["messages"] for row in rows[:2]] == [[*BEFORE, asked], [asked]]
    assert not {"context", "alternatives"} & rows[0].keys()


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_rows(corpus(tmp_path / "run"), tmp_path / "file" / "rows.jsonl")
