"""New examples are written after what the student gets wrong, in a run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from runs import ENGINES, decided

from baldistill.commands.run import run
from baldistill.config.loading import load_config
from baldistill.placement.engines import Engines
from baldistill.records import EXAMPLES, Example
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.question import request_id_of
from baldistill.teacher.synthesis import Synthesized, TailDomain, _Writer
from baldistill.teacher.teacher import Teacher

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PROMPTS = load_prompts("compact", model="bundled")


def test_the_student_is_asked_and_its_mistakes_are_the_seeds(
    tmp_path: Path, engines: Engines
) -> None:
    options = [
        *("budget.total=60", "stages=2", "budget.policy=naive", "selection.metric=wrong"),
        *("data.bundled_rows=200", "data.bundled_evaluation_per_domain=2", "tail.seeds=wrong"),
        *("selection.by=bundled-teacher", "selection.first_stage=metric"),
        *("student.epochs=0.5", "student.response.max_new_tokens=40"),
        *("evaluation.base_student=false", "evaluation.every_stage=false"),
    ]
    config = load_config(None, [*ENGINES, *options])
    run(config, run_dir=tmp_path / "run", engines=engines, quiet=True)
    stages = tmp_path / "run" / "stages"
    assert not (stages / "01" / "mistakes.parquet").exists()
    wrong = pq.read_table(stages / "02" / "mistakes.parquet").to_pylist()
    assert wrong
    assert {row["score"] for row in wrong} == {0.0}
    scored = pq.read_table(stages / "01" / "scored").to_pylist()
    marks = [row["correct"] for row in scored if row["response"] is not None]
    assert None not in marks
    assert sum(marks) > 0.5 * len(marks) > 0, "another model scores, which knows more"
    asked = {row["domain"] for row in scored if row["response"] is not None}
    by_rank = pq.read_table(stages / "01" / "selected.parquet").to_pylist()
    by_domain = {d: [r["correct"] for r in by_rank if r["domain"] == d] for d in asked}
    assert all(marks == sorted(marks) for marks in by_domain.values()), "wrong ones come first"

    corpus = pq.read_table(tmp_path / "run" / "corpus" / "train").to_pylist()
    rows = [
        *pq.read_table(stages / "02" / "synthesized.parquet").to_pylist(),
        *pq.read_table(stages / "02" / "rejected.parquet").to_pylist(),
    ]
    written = [row for row in rows if row.get("purpose", "synthesis") == "synthesis"]
    domains = {row["domain"] for row in written} & {row["domain"] for row in wrong}
    assert domains
    teacher = Teacher(None, None, None, config.teacher.tiers[0], PROMPTS)  # type: ignore[arg-type]
    for domain in domains:
        real = [Example(**{n: r[n] for n in EXAMPLES.names}) for r in corpus]
        real = sorted((e for e in real if e.domain == domain), key=lambda e: e.example_id)
        first = {row["example_id"] for row in wrong if row["domain"] == domain}
        assert first <= {example.example_id for example in real}
        others = [example for example in real if example.example_id not in first]
        seeds = [example for example in real if example.example_id in first]
        tail = TailDomain(others, ExistingQuestions(0.9), first=seeds)
        writer = _Writer(teacher, {domain: tail}, config, 2, None, Synthesized())
        asked = {row["request_id"] for row in written if row["domain"] == domain}
        questions = [writer._question(domain) for _ in asked]
        identity, sampling = teacher.config.identity, writer._sampling()
        assert asked == {request_id_of(question, identity, sampling) for question in questions}

    before = decided(tmp_path / "run")
    again = run(config, run_dir=tmp_path / "again", store=tmp_path / "run" / "responses",
                engines=engines, quiet=True)  # fmt: skip
    assert decided(tmp_path / "again") == before
    assert again.metrics["budget"]["total"]["calls"] == 0
