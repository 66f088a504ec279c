"""lm-eval in this process: what it refuses, and what it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lm_eval_tasks import CHOICES

from baldistill.config.benchmarks import LmEvalConfig
from baldistill.errors import UserError
from baldistill.generation.types import ModelRef
from baldistill.progress.counter import Figures

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.slow

STUDENT = ModelRef("bundled-student")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = tmp_path / "sums.jsonl"
    sums = [{"question": f"{n} + 2 = ", "choices": [f"{n + 2}", f"{n}"], "gold": 0} for n in (3, 4)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in sums))
    path = tmp_path / "sums.yaml"
    path.write_text(CHOICES.format(rows=rows))
    return path


def test_each_answer_is_counted(task: Path) -> None:
    from baldistill.student.harness import examine_benchmarks

    told: list[Figures] = []
    found = examine_benchmarks(STUDENT, [str(task)], LmEvalConfig(), "auto", told.append)
    (figure,) = found.figures
    assert (figure.task, figure.metric, figure.num_examples) == ("own_sums", "acc", 2)
    scores = found.scores["score"].to_pylist()
    assert sum(scores) / 2 == figure.value
    assert (told[-1].done, told[-1].total) == (4, 4), "two examples of two choices"
    assert "reading the data of sums.yaml" in [figures.status for figures in told]


def test_what_cannot_be_asked_is_refused(task: Path) -> None:
    from baldistill.student.harness import examine_benchmarks

    def said(options: LmEvalConfig) -> str:
        with pytest.raises(UserError) as error:
            examine_benchmarks(STUDENT, [str(task)], options, "auto", lambda figures: None)
        return str(error.value)

    assert "has no chat template" in said(LmEvalConfig(chat_template=True))
    task.write_text(task.read_text() + "unsafe_code: true\n")
    assert "own_sums runs code that the model writes" in said(LmEvalConfig())
