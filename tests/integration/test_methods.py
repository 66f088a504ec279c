"""The paper's methods at one budget, and that nothing before the metrics sees the evaluation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import ENGINES, mistake
from typer.testing import CliRunner

from baldistill.bundled.corpus import make_corpus
from baldistill.cli import app
from baldistill.commands.plan import plan_run
from baldistill.commands.run import run
from baldistill.config.loading import load_config
from baldistill.methods import METHODS
from baldistill.placement.engines import Engines
from baldistill.placement.resources import Cluster, place
from baldistill.run_folder.reader import corpus_counts
from baldistill.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BUDGET = 48
SMALL = [
    f"budget.total={BUDGET}",
    "stages=2",
    "data.bundled_rows=300",
    "data.bundled_evaluation_per_domain=2",
    "student.epochs=0.5",
    "student.response.max_new_tokens=16",
    "teacher.resources.replicas=1",
    "student.resources.replicas=1",
]


@pytest.fixture(scope="module")
def compared(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """All methods with one seed, as a user compares them."""
    out = tmp_path_factory.mktemp("compare")
    options = ["--methods", "all", "--seeds", "0", "--parallel", "1", "--run-dir", str(out)]
    done = CliRunner().invoke(app, ["compare", *SMALL, *options])
    assert done.exit_code == 0, done.output
    assert f"[{len(METHODS)}/{len(METHODS)}]" in done.output
    return out, json.loads((out / "comparison.json").read_text())


def annotated(run_dir: Path) -> list[dict[str, Any]]:
    paths = sorted(run_dir.glob("stages/*/annotated.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_on_exactly_the_budget(
    compared: tuple[Path, dict[str, Any]], method: str
) -> None:
    run_dir = compared[0] / method / "seed-0"
    rows = annotated(run_dir)
    assert len(rows) == (0 if method == "zero-shot-cot" else BUDGET)
    total = json.loads((run_dir / "metrics.json").read_text())["budget"]["total"]
    if method in ("zero-shot-cot", "random-ft"):
        assert total["calls"] == total["requests"] == 0
        assert all(row["rationale"] is None and row["request_id"] is None for row in rows)
    else:
        assert all(row["rationale"] for row in rows)
    sources = {row["source"] for row in rows}
    if method in ("baldistill-a-code", "baldistill-g"):  # so few units fill no tail domain up
        assert "real" in sources <= {"real", "synthetic"}
    elif method == "balance-ft-cot" or method.startswith("baldistill-"):
        assert sources == {"real", "synthetic"}
    elif method == "diverse-tail":
        assert "real" in sources <= {"real", "further", "synthetic"}
        ways = {(row["example_id"], row["rationale"]) for row in rows}
        assert len(ways) == len(rows), "no rationale of an example stands twice"
    elif method in ("llm2llm", "active-synthesis"):
        assert sources == {"real", "synthetic"}
    elif method == "duplicate-ft-cot":
        assert sources == {"real", "repeated"}
    else:
        assert sources <= {"real"}
    if method == "seq-kd":
        assert all((row["attempts"], row["verified"]) == (1, None) for row in rows)
    elif method == "llmaaa":  # a majority of three answers
        assert all(row["attempts"] in (2, 3) and row["verified"] for row in rows)


WRITES_NEW = {
    *("balance-ft-cot", "baldistill-n", "baldistill-a", "baldistill-n-code", "baldistill-e"),
    *("llm2llm", "active-synthesis"),
}
MAY_WRITE_NEW = {"baldistill-a-code", "baldistill-g", "diverse-tail"}  # of so few units


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("zero-shot-cot", "random-ft")])
def test_each_method_asks_for_what_it_needs_and_at_most_what_its_plan_says(
    compared: tuple[Path, dict[str, Any]], method: str
) -> None:
    run_dir = compared[0] / method / "seed-0"
    config = load_config(run_dir / "config.yaml")
    counts = corpus_counts(Storage.open(run_dir))
    planned = plan_run(config, counts, place(config, Cluster.single(2)))
    spent = json.loads((run_dir / "metrics.json").read_text())["budget"]
    asked = spent["total"]["calls"] + spent["total"]["reused"]  # as if it had run alone
    answers = {row["request_id"] for row in annotated(run_dir)}
    assert 1 <= len(answers) <= asked <= planned.calls_at_most

    rejected = {
        row["request_id"]
        for path in run_dir.glob("stages/*/rejected.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    by_purpose = {name: one["calls"] + one["reused"] for name, one in spent["by_purpose"].items()}
    assert sum(by_purpose.values()) == asked
    wrote = by_purpose.get("rationale", 0) + by_purpose.get("synthesis", 0)
    assert wrote == len(answers | rejected), "each call is an example, or is said to be none"
    if method == "llmaaa":
        real = [row["attempts"] for row in annotated(run_dir)]
        assert sum(real) <= asked <= sum(real) + 3 * len(rejected), "a vote is a call"

    purposes = set(spent["by_purpose"])
    wanted = {"rationale"}
    if method == "llmaaa":
        wanted.add("vote")
    if method in WRITES_NEW or (method in MAY_WRITE_NEW and "synthesis" in purposes):
        wanted.add("synthesis")
        if config.tail.votes:
            wanted.add("verification")
    assert purposes == wanted


def test_the_table_has_every_method_and_answers_are_shared(
    compared: tuple[Path, dict[str, Any]],
) -> None:
    out, data = compared
    assert [row["method"] for row in data["rows"]] == list(METHODS)
    assert 0 < data["calls_together"] < data["calls_alone"]
    stored = [
        name
        for path in (out / "responses").glob("*.parquet")
        for name in pq.read_table(path)["request_id"].to_pylist()
    ]
    assert len(stored) == len(set(stored)) == data["calls_together"]
    assert all((out / f"comparison.{ending}").stat().st_size for ending in ("md", "csv", "png"))


def fingerprints(run_dir: Path) -> dict[str, str]:
    """Hash of the content of each artifact that is decided before the metrics."""
    found = {}
    for path in sorted(run_dir.glob("stages/*/**/*")):
        name = str(path.relative_to(run_dir))
        if path.parent.name == "scored":  # Ray Data's own file names
            name = str(path.parent.relative_to(run_dir))
        if path.suffix == ".parquet" and path.stem != "responses":
            content = str(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".safetensors" or path.name in ("plan.json", "dropped.json"):
            content = path.read_bytes()
        else:
            continue
        found[name] = found.get(name, "") + hashlib.sha256(content).hexdigest()
    return found


def test_answers_of_the_evaluation_set_change_the_metrics_alone(
    tmp_path: Path, engines: Engines
) -> None:
    """Quotas (even those of the `gain` policy), examples and students never look at them."""
    seen, metrics = [], []
    for name in ("true", "false"):
        folder = tmp_path / name
        folder.mkdir()
        train, evaluation = make_corpus(200, 4, alpha=1.0)
        if name == "false":
            nonsense = pa.array(["nobody knows"] * len(evaluation))
            evaluation = evaluation.set_column(3, "answer", nonsense)
        pq.write_table(train, folder / "train.parquet")
        pq.write_table(evaluation, folder / "evaluation.parquet")
        config = load_config(
            None,
            [
                *SMALL,
                *ENGINES,
                "budget.policy=gain",
                "budget.total=160",
                "student.epochs=8",
                "student.response.max_new_tokens=48",
                f"data.train={folder}/train.parquet",
                f"data.evaluation={folder}/evaluation.parquet",
            ],
        )
        result = run(
            config, run_dir=folder / "run", store=tmp_path / "store", engines=engines, quiet=True
        )
        seen.append(fingerprints(folder / "run"))
        metrics.append(result.metrics)
    assert len(seen[0]) >= 12
    assert seen[0] == seen[1]
    assert metrics[0]["macro"] > metrics[1]["macro"] == 0.0


def test_evaluate_finds_what_the_run_found(
    compared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The student of a run, loaded from its folder, gives the answers of the run's evaluation."""
    run_dir = compared[0] / "baldistill-a" / "seed-0"
    again = tmp_path / "again"
    done = CliRunner().invoke(app, ["evaluate", str(run_dir), "--run-dir", str(again), "--json"])
    assert done.exit_code == 0, done.output
    wanted = json.loads((run_dir / "metrics.json").read_text())
    found = json.loads(done.output.splitlines()[-1])
    assert {name: found[name] for name in ("macro", "natural", "per_domain")} == {
        name: wanted[name] for name in ("macro", "natural", "per_domain")
    }
    answers = [
        pq.read_table(folder / "responses.parquet", columns=["question", "response"])
        for folder in (run_dir / "stages/02", again / "stages/00")
    ]
    assert answers[0].equals(answers[1])
    assert found["budget"]["total"]["calls"] == 0


def test_a_stage_is_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, "evaluate", str(tmp_path), "--stage", "2")
    assert f"--stage 2 is of a run, and {tmp_path} is no run folder" in said


def test_a_path_that_is_not_there_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = mistake(capsys, "evaluate", str(tmp_path / "nowhere"))
    assert f"there is no folder {tmp_path}/nowhere" in said
    assert "Ray:" not in said
    said = mistake(capsys, "evaluate", str(tmp_path))
    assert f"{tmp_path} is neither a run folder (it has no config.yaml) nor a model's" in said
