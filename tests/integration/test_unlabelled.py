"""A run on a corpus without gold answers: the bundled one, with its training answers hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from runs import ENGINES, answered

from baldistill.bundled.corpus import make_corpus
from baldistill.commands.run import RunResult, run
from baldistill.config.loading import load_config
from baldistill.errors import UserError
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


def test_the_evaluation_set_may_be_the_teacher_s_too(tmp_path: Path, engines: Engines) -> None:
    """A cap is told before anything is trained, and what came until then is not paid again."""
    options = [*HIDDEN, "budget.total=0", "data.columns.evaluation_answer=null"]
    options.append("evaluation.gold=teacher")

    def evaluated(*more: str) -> RunResult:
        config = load_config(None, [*options, *more])
        return run(config, run_dir=tmp_path, engines=engines, quiet=True)

    with pytest.raises(UserError, match=r"cap on calls(.|\n)*raise budget\.calls"):
        evaluated("budget.calls=20")
    assert len(answered(tmp_path)) == 20
    result = evaluated()
    spent = result.metrics["budget"]
    assert set(spent["by_purpose"]) == {"evaluation"}
    assert (spent["total"]["units"], len(set(answered(tmp_path)))) == (0, len(answered(tmp_path)))
    assert spent["total"]["calls"] == len(answered(tmp_path))
    rows = pq.read_table(tmp_path / "corpus/answered").to_pylist()
    without = pq.read_table(tmp_path / "corpus/unanswered.parquet").to_pylist()
    assert len(rows) + len(without) == 24
    assert {row["reason"] for row in without} <= {"no majority", "no conclusion"}
    assert "" not in {row["answer"] for row in rows}
    marked = pq.read_table(tmp_path / "stages/00/responses.parquet").to_pylist()
    answers = {row["example_id"]: row["answer"] for row in rows}
    assert {row["example_id"]: row["answer"] for row in marked} == answers
    assert result.metrics["gold"] == "teacher"
    assert evaluated().metrics == result.metrics

    report(tmp_path)
    page = (tmp_path / "report/index.html").read_text("utf-8")
    assert "Agreement with the teacher per domain and stage" in page
    assert "Accuracy" not in page.partition("Config and versions")[0]


def test_bare_questions_are_enough(tmp_path: Path, engines: Engines) -> None:
    """As examples/bare-questions.yaml: nobody named a domain or an answer, to train or to mark."""
    questions = make_corpus(300, 2, 1.0)[0]["question"].to_pylist()
    corpus = tmp_path / "questions.jsonl"
    corpus.write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))
    own = [
        f"data.train={corpus}",
        "data.columns={answer: null, domain: null}",
        "data.domains={clusters: 6}",
        "data.evaluation_max_per_domain=3",
        "evaluation.gold=teacher",
        "budget={total: 48, policy: adaptive}",
        "stages=2",
    ]
    kept = [option for option in HIDDEN if not option.startswith(("data.", "budget", "stages"))]
    result = run(load_config(None, [*kept, *own]), run_dir=tmp_path / "run", engines=engines)
    assert len(result.metrics["per_domain"]) == 6
    assert result.metrics["budget"]["total"]["units"] == 48
    marked = pq.read_table(tmp_path / "run/stages/02/responses.parquet")
    assert "" not in marked["answer"].to_pylist(), "the teacher's majority"
    assert {"evaluation", "rationale", "vote"} <= set(result.metrics["budget"]["by_purpose"])
    report(tmp_path / "run")
    page = (tmp_path / "run/report/index.html").read_text("utf-8")
    assert (
        "The evaluation set has no gold answers: figures say how often the student agrees" in page
    )
