"""`examples/real/`: both configs are planned as they stand, on small files of the same columns."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from baldistill.cli import app

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

REAL = Path(__file__).resolve().parents[2] / "examples" / "real"
TOPICS = {"earn": 3000, "acq": 400, "gold": 30}


def stories(part: str, sizes: dict[str, int]) -> pa.Table:
    rows = [
        {"id": f"{part}-{topic}-{n}", "domain": topic, "question": f"{part} {topic} story {n}.",
         "answer": topic}
        for topic, size in sizes.items()
        for n in range(size)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`data/r52` in the folder where the commands are run, and a recording beside it."""
    folder = tmp_path / "data" / "r52"
    folder.mkdir(parents=True)
    train = stories("train", TOPICS)
    pq.write_table(train, folder / "train.parquet")
    pq.write_table(stories("test", dict.fromkeys(TOPICS, 4)), folder / "evaluation.parquet")
    with (tmp_path / "recorded.jsonl").open("w") as lines:
        for row in train.to_pylist():  # as the authors spell it: other marks, another case
            text = row["question"].upper().replace(".", "").replace(" STORY ", " STORY: ")
            line = {"text": text, "label": row["domain"], "rationale": f"It is {row['domain']}."}
            lines.write(json.dumps(line) + "\n")
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_authors_recordings_become_the_files_of_the_config(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "recorded.jsonl").open("a") as lines:
        for text in ("Quite a new one about bullion", "Quite a new one about ounces"):
            lines.write(json.dumps({"text": text, "label": "gold", "rationale": "New."}) + "\n")
    monkeypatch.setattr(sys, "argv", ["recorded_r52.py", str(tmp_path / "recorded.jsonl")])
    runpy.run_path(str(REAL / "recorded_r52.py"), run_name="__main__")
    recorded = pq.read_table(corpus / "recorded.parquet").to_pylist()
    known = set(pq.read_table(corpus / "train.parquet")["question"].to_pylist())
    assert recorded
    assert {row["question"] for row in recorded} <= known
    new = pq.read_table(corpus / "synthetic.parquet").to_pylist()
    assert [row["domain"] for row in new] == ["gold", "gold"]

    planned = CliRunner().invoke(app, ["plan", str(REAL / "r52-recorded.yaml"), "--json"])
    assert planned.exit_code == 0, planned.output
    figures = json.loads(planned.stdout.splitlines()[-1])
    assert sum(stage["budget"] for stage in figures["stages"]) == 2600


def test_a_teacher_on_the_same_card_is_planned(corpus: Path) -> None:
    planned = CliRunner().invoke(app, ["plan", str(REAL / "r52-local-teacher.yaml"), "--json"])
    assert planned.exit_code == 0, planned.output
    figures = json.loads(planned.stdout.splitlines()[-1])
    assert sum(stage["budget"] for stage in figures["stages"]) == 2600
