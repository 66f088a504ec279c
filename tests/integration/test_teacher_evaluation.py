"""`evaluation.teacher`: the teacher's own answers to the evaluation set, beside the students'."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from runs import ENGINES, answered

import baldistill
from baldistill.commands.run import RunResult, run
from baldistill.config.loading import load_config
from baldistill.placement.engines import Engines
from baldistill.report.page import report

pytestmark = pytest.mark.ray

SMALL = [
    *("budget.total=0", "data.bundled_rows=300", "data.bundled_evaluation_per_domain=2"),
    *("student.response.max_new_tokens=16", "teacher.rationale.max_new_tokens=96"),
    *ENGINES,
]


def test_its_answers_are_paid_once_within_the_caps_and_are_a_column(
    tmp_path: Path, engines: Engines
) -> None:
    def evaluated(*more: str) -> RunResult:
        config = load_config(None, [*SMALL, *more])
        return run(config, run_dir=tmp_path, engines=engines, quiet=True)

    plain = evaluated("budget.calls=10")  # the option may be set when all else is done
    assert "teacher" not in plain.metrics
    few = evaluated("evaluation.teacher=true", "budget.calls=10")
    assert few.metrics["teacher"]["left_out"] == {"refused by the cap on calls": 14}
    assert len(answered(tmp_path)) == 10
    base = (tmp_path / "_commits/stages/00/metrics.json").read_bytes()
    result = evaluated("evaluation.teacher=true", "budget.calls=24")
    assert (tmp_path / "_commits/stages/00/metrics.json").read_bytes() == base
    assert len(answered(tmp_path)) == len(set(answered(tmp_path))) == 24
    spent = result.metrics["budget"]
    assert set(spent["by_purpose"]) == {"evaluation"}
    assert (spent["total"]["calls"], spent["total"]["units"]) == (24, 0)

    figures = result.metrics["teacher"]
    assert figures["left_out"] == {}
    assert figures["macro"] > 0.5 > result.metrics["macro"], "the student is not trained"
    rows = pq.read_table(tmp_path / "teacher/responses.parquet").to_pylist()
    assert sum(row["score"] for row in rows) / 24 == pytest.approx(figures["micro"])
    for row in rows:  # marked as a student's answer is
        assert (row["score"] == 1.0) == (row["prediction"] == row["answer"]), row
    asked = pq.read_table(tmp_path / "stages/00/responses.parquet")["example_id"].to_pylist()
    assert [row["example_id"] for row in rows] == asked

    report(tmp_path)
    page = (tmp_path / "report/index.html").read_text("utf-8")
    assert ">gap</th>" in page
    assert f"{figures['macro']:.3f}" in page

    (tmp_path / "teacher/responses.parquet").write_bytes(b"damaged")
    (loss,) = baldistill.repair(tmp_path, accept_loss=True).losses
    assert "work: teacher/metrics are done again" in loss, "no other step is"
    assert evaluated("evaluation.teacher=true", "budget.calls=24").metrics == result.metrics
    assert json.loads((tmp_path / "metrics.json").read_text())["teacher"] == figures
