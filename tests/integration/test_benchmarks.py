"""`evaluation.benchmarks`: lm-eval asks the base student and the last one, each once."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lm_eval_tasks import CHOICES, WRITTEN
from runs import ENGINES

from baldistill.commands.run import RunResult, run
from baldistill.config.loading import load_config
from baldistill.errors import UserError
from baldistill.placement.engines import Engines
from baldistill.report.page import report
from baldistill.run_folder.layout import StageLayout, marker
from baldistill.run_folder.reader import read_run

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.ray

SMALL = [
    *("budget.total=16", "stages=1", "data.bundled_rows=300", "student.epochs=1"),
    *("data.bundled_evaluation_per_domain=1", "student.response.max_new_tokens=8"),
    *("evaluation.base_student=false", "rationale.on_mismatch=label_only", "tail.fill=repeat"),
    *ENGINES,
]
ASKED = ["evaluation.lm_eval.limit=8", "evaluation.lm_eval.num_fewshot=2"]
BEFORE, AFTER, STUDENT = (
    marker(StageLayout(stage).step(name))
    for stage, name in ((0, "benchmarks"), (1, "benchmarks"), (1, "student"))
)


@pytest.fixture
def tasks(tmp_path: Path) -> list[str]:
    """A task of each kind, on sums in a file: nothing is downloaded."""
    rows = tmp_path / "sums.jsonl"
    sums = [
        {"question": f"{a} + {b} = ", "choices": [str(a + b), str(a + b + 1), str(a)], "gold": 0}
        for a in range(2, 6)
        for b in range(3, 6)
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in sums))
    for name, text in (("choices", CHOICES), ("written", WRITTEN)):
        (tmp_path / f"{name}.yaml").write_text(text.format(rows=rows))
    return [str(tmp_path / "choices.yaml"), str(tmp_path / "written.yaml")]


def test_what_was_forgotten_is_measured_once(
    tmp_path: Path, tasks: list[str], engines: Engines
) -> None:
    folder = tmp_path / "run"

    def done() -> RunResult:
        config = load_config(None, [*SMALL, f"evaluation.benchmarks={json.dumps(tasks)}", *ASKED])
        return run(config, run_dir=folder, engines=engines, quiet=True)

    run(load_config(None, SMALL), run_dir=folder, engines=engines, quiet=True)
    trained = (folder / STUDENT).read_bytes()
    first = done()  # the benchmarks may be added when all else is done
    assert (folder / STUDENT).read_bytes() == trained, "nothing is trained again"
    choices, written = first.metrics["benchmarks"]["changes"]
    assert (choices["task"], choices["metric"], choices["num_examples"]) == ("own_sums", "acc", 8)
    assert choices["num_fewshot"] == 2
    assert (written["task"], written["metric"]) == ("own_answers", "exact_match")
    for stage, when in ((0, "before"), (1, "after")):
        table = pq.read_table(folder / StageLayout(stage).benchmark_scores).to_pylist()
        for change in (choices, written):
            scores = [row["score"] for row in table if row["task"] == change["task"]]
            assert len(scores) == 8
            assert sum(scores) / 8 == pytest.approx(change[when])
    assert choices["difference"] == pytest.approx(choices["after"] - choices["before"])
    assert choices["verdict"] in ("forgotten", "gained", "within noise")
    assert (
        json.loads((folder / "metrics.json").read_text())["benchmarks"]
        == (first.metrics["benchmarks"])
    )

    kept = (folder / BEFORE).read_bytes()
    (folder / AFTER).unlink()  # as a kill before the step was committed leaves it
    assert done().metrics == first.metrics
    assert (folder / BEFORE).read_bytes() == kept, "it is not asked twice"

    report(folder)
    page = (folder / "report/index.html").read_text("utf-8")
    assert "What was forgotten" in page
    assert "own_answers" in page
    assert (folder / "report/benchmarks.png").stat().st_size > 0
    assert len(read_run(folder).benchmarks) == 2


def test_a_task_that_cannot_be_used_is_said_before_a_teacher_is_asked(
    tmp_path: Path, tasks: list[str], engines: Engines
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(Path(tasks[0]).read_text().replace("sums.jsonl", "none.jsonl"))
    config = load_config(None, [*SMALL, f"evaluation.benchmarks={broken}"])
    with pytest.raises(UserError, match=r"(?s)cannot prepare .*none\.jsonl"):
        run(config, run_dir=tmp_path / "run", engines=engines, quiet=True)
    assert not (tmp_path / "run/ledger").exists()
