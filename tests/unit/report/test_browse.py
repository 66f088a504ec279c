"""`baldistill browse`: all rows of a run on a page that needs no server and obeys no text."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import FINISHED, mistake
from texts import HARMFUL

import baldistill
from baldistill.report.examples import whole_question
from baldistill.visible import visible, visible_lines
from baldistill.yaml12 import read_yaml


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FINISHED, tmp_path / "run"))


def rows_of(folder: Path) -> list[list[Any]]:
    page = (folder / "index.html").read_text("utf-8")
    found = []
    for name in re.findall(r'<script src="([^"]+)"></script>', page):
        script = (folder / name).read_text("ascii")
        assert script.startswith("rows(")
        assert script.endswith(");\n")
        found += json.loads(script[len("rows(") : -len(");\n")])
    return found


def table(run: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(run / "stages" / name).to_pylist()


def test_every_row_is_there_once(run: Path) -> None:
    done = baldistill.browse(run)
    rows = rows_of(run / "browse")
    assert done.num_rows == len(rows)
    learnt = [(1, row) for row in table(run, "01/annotated.parquet")]
    learnt += [(2, row) for row in table(run, "02/annotated.parquet")]
    found = [row for row in rows if row[0] == "learnt from"]
    assert [row[1:3] + row[4:8] for row in found] == [
        [stage, r["domain"], r["example_id"], r["question"], r["answer"], r["rationale"]]
        for stage, r in learnt
    ]
    rejected = [row for n in (1, 2) for row in table(run, f"0{n}/rejected.parquet")]
    found = [row for row in rows if row[0] == "rejected"]
    assert [row[3] for row in found] == [f"{r['purpose']}: {r['reason']}" for r in rejected]
    assert [row[7] for row in found] == [r["text"] for r in rejected]
    evaluated = [row for row in rows if row[0] == "evaluated"]
    assert len(rows) == len(learnt) + len(rejected) + len(evaluated)
    stages = {n: table(run, f"0{n}/responses.parquet") for n in (1, 2)}
    assert len(evaluated) == len(stages[2])
    for row in evaluated:
        answers = {title: rest for title, *rest in row[9]}
        for n, responses in stages.items():
            (one,) = (r for r in responses if r["example_id"] == row[4])
            assert answers[f"stage {n}"] == [one["response"], one["prediction"], one["score"]]
        right = [score >= 0.5 for *_, score in row[9]]
        assert row[3].endswith("right") == right[-1]
        assert row[3].startswith("became") == (len(set(right)) > 1)


def test_a_row_says_that_its_json_was_repaired(run: Path) -> None:
    path = run / "stages/01/annotated.parquet"
    rows = pq.read_table(path)
    marks = pa.array([True] + [None] * (len(rows) - 1), pa.bool_())
    pq.write_table(rows.append_column("repaired", marks), path)
    baldistill.browse(run)
    first, *others = [row[3] for row in rows_of(run / "browse") if row[0] == "learnt from"]
    assert first == f"{rows['source'][0]}, repaired"
    assert not any("repaired" in verdict for verdict in others)


def verdicts(run: Path) -> list[str]:
    return [row[3] for row in rows_of(run / "browse") if row[0] == "evaluated"]


def test_an_answer_agrees_with_a_teacher_where_its_answers_are_the_gold_ones(run: Path) -> None:
    for stage, scores in ((1, [1.0, 0.0, 1.0, 0.0]), (2, [1.0, 1.0, 0.0, 0.0])):
        path = run / f"stages/{stage:02d}/responses.parquet"
        asked = pq.read_table(path).sort_by("example_id").slice(0, 4)
        place = asked.schema.get_field_index("score")
        pq.write_table(asked.set_column(place, asked.schema.field("score"), [scores]), path)
    baldistill.browse(run)
    assert verdicts(run) == ["right", "became right", "became wrong", "wrong"]
    assert 'const GOOD = "right", BAD = "wrong";' in (run / "browse/index.html").read_text("utf-8")
    config = run / "config.yaml"
    values = read_yaml(config.read_text())
    values["evaluation"]["gold"] = "teacher"
    config.write_text(json.dumps(values))
    baldistill.browse(run)
    assert verdicts(run) == ["agrees", "came to agree", "came to differ", "differs"]
    page = (run / "browse/index.html").read_text("utf-8")
    assert 'const GOOD = "agrees", BAD = "differs";' in page
    assert "IS_BINARY = true" in page
    assert not re.search(r"\b(right|wrong)\b", page.partition("<script>")[2])


@pytest.mark.parametrize("harm", HARMFUL)
def test_no_text_acts(run: Path, tmp_path: Path, harm: str) -> None:
    path = run / "stages/02/annotated.parquet"
    known = pq.read_table(path)
    size = len(known)
    for name in ("domain", "question", "answer", "rationale"):
        column = pa.array([f"</script><b>{harm}"] * size, known.schema.field(name).type)
        known = known.set_column(known.schema.get_field_index(name), name, column)
    pq.write_table(known, path)
    shutil.rmtree(run / "_commits/stages/02")  # the folder is as of a run at work
    marker = FINISHED / "_commits/stages/02/annotated.json"
    values = json.loads(marker.read_text())
    values.pop("files", None)
    target = run / "_commits/stages/02/annotated.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps({k: v for k, v in values.items() if k != "checksum"}))
    baldistill.browse(run, out=tmp_path / "out")
    found = [row for row in rows_of(tmp_path / "out") if row[:2] == ["learnt from", 2]]
    assert len(found) == size
    assert found[0][2] == visible(f"</script><b>{harm}")
    assert found[0][5] == visible_lines(f"</script><b>{harm}")
    for file in (tmp_path / "out").iterdir():
        assert "</script><b>" not in file.read_text("utf-8")


def test_the_page_asks_no_network(run: Path) -> None:
    baldistill.browse(run)
    page = (run / "browse/index.html").read_text("utf-8")
    assert "http" not in page
    assert "innerHTML" not in page
    assert "fetch(" not in page


def test_a_page_replaces_a_page_and_nothing_else(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = baldistill.browse(run, out=tmp_path / "out").num_rows
    assert (
        baldistill.browse(run, out=tmp_path / "out").num_rows
        == first
        == len(rows_of(tmp_path / "out"))
    )
    (tmp_path / "out/thesis.txt").write_text("mine")
    said = mistake(capsys, "browse", str(run), "--out", str(tmp_path / "out"))
    assert "holds something else (thesis.txt)" in said
    assert (tmp_path / "out/thesis.txt").read_text() == "mine"
    assert "no run folder" in mistake(capsys, "browse", str(tmp_path / "out"))
    shutil.rmtree(run / "_commits/stages")
    assert "no rows to show yet" in mistake(capsys, "browse", str(run))


def test_a_question_of_a_chat_stands_behind_its_context() -> None:
    asked = {"question": "And then?", "context": [{"role": "user", "content": "Hello"}]}
    assert whole_question(asked) == "user: Hello\n\nAnd then?"
    assert whole_question({"question": "Alone?"}) == "Alone?"
