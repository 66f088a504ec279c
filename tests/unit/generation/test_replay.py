"""Recorded completions: found by id or question, in any format, with what is missing told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baldistill.config.engines import ReplayOptions
from baldistill.errors import DataError
from baldistill.generation.factory import build_engine
from baldistill.generation.replay import Recordings
from baldistill.generation.types import ModelRef, Request, Sampling, Subject

ROWS = [
    {"id": f"id-{i}", "question": f"What is {i} + 1?", "rationale": f"Count {i}.", "said": f"{i}"}
    for i in range(9000)
]


def engine(path: Path, **options: Any) -> Any:
    built = build_engine(ReplayOptions(path=str(path), **options))
    built.load(ModelRef("unused"))
    return built


def ask(engine: Any, *subjects: Subject | None) -> list[tuple[str, str | None]]:
    requests = [Request(str(i), "a prompt", subject=s) for i, s in enumerate(subjects)]
    answers = engine.generate(requests, Sampling(8))
    assert [answer.request_id for answer in answers] == [str(i) for i in range(len(subjects))]
    return [(answer.text, answer.error and answer.error.partition(":")[0]) for answer in answers]


def subject(number: int, attempt: int = 0) -> Subject:
    return Subject(f"id-{number}", f"What is {number} + 1?", attempt)


@pytest.mark.parametrize("form", ["parquet", "jsonl", "folder"])
@pytest.mark.parametrize("key", [{"id": "id"}, {}])
def test_answers_are_found_by_id_or_question(form: str, key: Any, tmp_path: Path) -> None:
    path = tmp_path / f"recorded.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.mkdir()
        for start in range(0, len(ROWS), 3000):
            table = pa.Table.from_pylist(ROWS[start : start + 3000])
            pq.write_table(table, path / f"{start}.parquet")
    replay = engine(path, columns={**key, "answer": "said"})
    last = len(ROWS) - 1
    assert ask(replay, subject(7), subject(last), subject(-1), None, subject(7, attempt=1)) == [
        ("Count 7.\nAnswer: 7", None),
        (f"Count {last}.\nAnswer: {last}", None),
        ("", "no recording"),
        ("", "not recorded"),
        ("", "no further recording"),
    ]


def test_rows_without_a_text_are_no_recordings(tmp_path: Path) -> None:
    path = tmp_path / "recorded.jsonl"
    rows = [
        {"question": " What?\r\nNow? ", "rationale": "First. ", "said": None},
        {"question": "What?\nNow?", "rationale": "Second.", "said": 4},
        {"question": "Blank?", "rationale": " \n", "said": 4},
        {"question": "Nothing?", "rationale": None, "said": 4},
        {"question": None, "rationale": "Of what?", "said": 4},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ReplayOptions(path=str(path), columns={"answer": "said"})
    recorded = Recordings(options.path, options.columns)
    assert len(recorded) == 2
    texts = [recorded.find(Subject("x", "What?\nNow?", attempt)) for attempt in range(3)]
    assert texts == ["First.", "Second.\nAnswer: 4", None]
    assert recorded.find(Subject("x", "Blank?")) is None


def test_whole_completions_and_numbers_as_ids(tmp_path: Path) -> None:
    path = tmp_path / "recorded.parquet"
    pq.write_table(pa.table({"n": [3, 4], "full": ["So.\nAnswer: 3", "So.\nAnswer: 4"]}), path)
    replay = engine(path, columns={"id": "n", "text": "full"})
    assert ask(replay, Subject("4", "?")) == [("So.\nAnswer: 4", None)]


def test_an_empty_table_has_no_recordings(tmp_path: Path) -> None:
    path = tmp_path / "recorded.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), path)
    assert ask(engine(path), subject(1)) == [("", "no recording")]


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "recorded.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS[:3]), path)
    with pytest.raises(DataError, match=r"nowhere\.parquet does not exist"):
        engine(tmp_path / "nowhere.parquet")
    with pytest.raises(DataError, match=r"teacher.columns.text: .* has no column 'full' .*said"):
        engine(path, columns={"text": "full"})
    (tmp_path / "recorded.txt").write_text("text")
    with pytest.raises(DataError, match="must be Parquet"):
        engine(tmp_path / "recorded.txt")
    with pytest.raises(DataError, match=r"no recording for example id-9 .*missing=skip"):
        ask(engine(path, missing="error"), subject(9))
    optional = Subject("id-9", "What is 9 + 1?", needed=False)
    assert ask(engine(path, missing="error"), optional) == [("", "no recording")]
    (tmp_path / "broken.parquet").write_text("no Parquet")
    with pytest.raises(DataError, match="cannot read"):
        engine(tmp_path / "broken.parquet")
