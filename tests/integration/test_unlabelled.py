"""A run on a corpus without gold answers: the bundled one, with its training answers hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from runs import ENGINES

from baldistill.bundled.corpus import make_corpus
from baldistill.commands.run import run
from baldistill.config.loading import load_config
from baldistill.placement.engines import Engines
from baldistill.report.page import report

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HIDDEN = [
    "data.columns.answer=null",
    "data.columns.evaluation_answer=answer",
    "rationale.sees=question",
    "rationale.accept=majority",
    "data.bundled_rows=300",
    "data.bundled_evaluation_per_domain=2",
    "stages=1",
    "budget={total: 72, policy: naive}",
    "tail.votes=2",
    "student.epochs=0.5",
    "student.response.max_new_tokens=16",
    "evaluation.base_student=false",
    *ENGINES,
]


def test_the_teacher_labels_what_nobody_has_labelled(tmp_path: Path, engines: Engines) -> None:
    config = load_config(None, HIDDEN)
    result = run(config, run_dir=tmp_path, engines=engines, quiet=True)
    hidden = [pq.read_table(path) for path in tmp_path.glob("corpus/train/*.parquet")]
    assert {answer for table in hidden for answer in table["answer"].to_pylist()} == {""}
    marked = pq.read_table(tmp_path / "stages/01/responses.parquet")
    assert "" not in marked["answer"].to_pylist(), "the evaluation set has its own"

    gold = {row["id"]: row["answer"] for row in make_corpus(300, 2)[0].to_pylist()}
    rows = pq.read_table(tmp_path / "stages/01/annotated.parquet").to_pylist()
    real = [row for row in rows if row["source"] == "real"]
    right = sum(row["answer"] == gold[row["example_id"]] for row in real)
    assert right / len(real) > 0.75, "the teacher alone, in domains of the same size"
    new = [row for row in rows if row["source"] == "synthetic"]
    assert new, "from what was accepted as demonstrations"
    spent = result.metrics["budget"]
    assert spent["total"]["units"] == len(rows)
    assert spent["by_purpose"]["vote"]["calls"] >= len(real)

    report(tmp_path)
    page = (tmp_path / "report/index.html").read_text("utf-8")
    assert "the teacher concluded in 2 of 3 votes" in page
    assert "the teacher&#39;s answer: " in page
    assert json.loads((tmp_path / "metrics.json").read_text())["budget"] == spent
