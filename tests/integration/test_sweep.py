"""Sweeps as a user runs them: a failing trial, kill -9 and resume, the cap, real Train workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import ENGINES, answered, finish, kill_9, mistake, start, wait_until
from servers.fault_server import FaultServer, running

from baldistill.config.loading import load_config
from baldistill.tune.space import parse_space

pytestmark = pytest.mark.slow

SMALL = [
    "stages=1",
    "budget.total=24",
    "data.bundled_rows=200",
    "data.bundled_evaluation_per_domain=1",
    "selection.metric=random",
    "student.epochs=0.5",
    "student.response.max_new_tokens=8",
    "rationale.on_mismatch=label_only",
    "rationale.max_attempts=1",
    "tail.fill=none",
    "teacher.kind=openai",
    "teacher.model=m",
]
ADAPTERS = """
search: grid
seed: 5  # which leaves three points in their order
stopping: none
fixed: {student.lora.rank: 2}
parameters:
  student.lora.target_modules: {kind: choice, values: [all-linear, no_such_layer, [q_proj, v_proj]]}
"""
WORKERS = """
search: grid
seed: 5
metric: [macro, natural]
calls: 45
fixed:
  budget.total: 12
  student.num_workers: 1
parameters:
  budget.calls: {kind: choice, values: [20, 21, 60]}
"""

LEARNED = """
search: optuna
trials: 3
stopping: {kind: asha, grace: 0.5}
fixed: {stages: 2}
parameters:
  student.learning_rate: {kind: float, low: 1.0e-6, high: 1.0e-3, log: true}
"""


@pytest.fixture(scope="module")
def small() -> Iterator[list[str]]:
    """SMALL with a teacher on loopback."""
    with running(FaultServer()) as url:
        yield [*SMALL, f"teacher.base_url={url}"]


def standing(folder: Path, name: str) -> str | None:
    path = folder / "record" / f"{name}.json"
    return json.loads(path.read_text())["standing"] if path.exists() else None


def began(trial: Path) -> float:
    return (trial / "config.yaml").stat().st_mtime


def examined(trial: Path) -> float:
    return (trial / "stages" / "01" / "metrics.json").stat().st_mtime


def test_a_killed_sweep_goes_on_and_pays_nothing_twice(small: list[str], tmp_path: Path) -> None:
    space, folder = tmp_path / "space.yaml", tmp_path / "sweep"
    space.write_text(ADAPTERS)
    options = [*small, "student.resources.replicas=1", "teacher.resources.replicas=1"]
    process = start("sweep", *options, "--space", str(space), "--out", str(folder), home=tmp_path)
    moment = folder / "trials" / "t003" / "_commits" / "stages" / "01" / "annotated.json"
    wait_until(moment.exists, process)
    kill_9(process)
    assert [standing(folder, f"t00{n}") for n in (1, 2, 3)] == ["done", "failed", "running"]
    before = answered(folder)
    first = (folder / "trials" / "t001" / "metrics.json").stat().st_mtime_ns

    output = finish(start("sweep", "--resume", str(folder), "--json", home=tmp_path))
    data = json.loads(output.splitlines()[-1])
    assert data == json.loads((folder / "sweep.json").read_text())
    assert {t["name"]: t["standing"] for t in data["trials"]} == {
        "t001": "done",
        "t002": "failed",
        "t003": "done",
    }, output
    failed = next(trial for trial in data["trials"] if trial["name"] == "t002")
    assert "no_such_layer" in failed["reason"]
    assert "student.lora.target_modules" in failed["reason"]
    assert (folder / "trials" / "t001" / "metrics.json").stat().st_mtime_ns == first

    ids = answered(folder)
    assert len(ids) == len(set(ids)), "an answered call was made again"
    assert set(before) <= set(ids)
    assert data["calls_paid"] == len(ids)
    assert data["calls_alone"] >= 2 * data["calls_paid"], "the teacher is asked the same"
    best = load_config(folder / "best.yaml")
    assert best.student.lora is not None
    assert best.evaluation.base_student, "the user's own, not what a trial needs"
    for name in ("sweep.md", "sweep.csv", "sweep-parameters.png", "sweep-domains.svg"):
        assert (folder / name).stat().st_size > 0
    assert list((folder / "tune").rglob("events.out.tfevents*")), "TensorBoard by default"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_trials_with_train_workers_go_side_by_side_under_a_cap(
    small: list[str], tmp_path: Path
) -> None:
    import baldistill

    folder = tmp_path / "sweep"
    config = load_config(None, [*small, *ENGINES])
    data: dict[str, Any] = baldistill.sweep(
        config, parse_space(WORKERS, "workers"), run_dir=folder, quiet=True
    )
    trials = {trial["name"]: trial for trial in data["trials"]}
    assert [trials[f"t00{n}"]["standing"] for n in (1, 2, 3)] == ["done", "done", "skipped"]
    assert "it may call the teacher 60 times" in trials["t003"]["reason"]
    assert "of the sweep's 45 calls are left" in trials["t003"]["reason"]
    assert 0 < data["calls_paid"] <= 41
    assert began(folder / "trials" / "t002") < examined(folder / "trials" / "t001")
    assert (folder / "sweep-front.png").exists()

    best = load_config(folder / "best.yaml", ["student.num_workers=0"])
    result = baldistill.run(best, run_dir=tmp_path / "best", store=folder / "responses", quiet=True)
    assert result.metrics["budget"]["total"]["calls"] == 0, "the sweep has paid for it"
    assert result.student is not None


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_optuna_proposes_and_two_trials_run_side_by_side(small: list[str], tmp_path: Path) -> None:
    import baldistill

    pytest.importorskip("optuna")
    folder = tmp_path / "sweep"
    space = parse_space(LEARNED, "learned")
    data: dict[str, Any] = baldistill.sweep(
        load_config(None, [*small, *ENGINES]), space, run_dir=folder, parallel=2, quiet=True
    )
    assert {trial["standing"] for trial in data["trials"]} <= {"done", "stopped"}
    rates = [trial["values"]["student.learning_rate"] for trial in data["trials"]]
    assert len(set(rates)) == 3
    assert all(1e-6 <= rate <= 1e-3 for rate in rates)
    assert 0 < data["calls_paid"] <= data["calls_alone"] / 2, "the teacher is asked the same"
    assert began(folder / "trials" / "t002") < examined(folder / "trials" / "t001")
    ids = answered(folder)
    assert len(ids) == len(set(ids)) == data["calls_paid"], "none twice, not even at once"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "no.yaml"], "does not exist"),
        ([], "--space"),
        (["--resume", "nowhere"], "there is no sweep"),
        (["--resume", "nowhere", "seed=1"], "leave out CONFIG"),
        (["--space", "SPACE", "--parallel", "9"], "at most --parallel"),
        (["--space", "SPACE", "--validate-seeds", "0"], "seed 0 was used by the sweep"),
        (["--space", "SPACE", "--metric", "marco"], "marco"),
    ],
)
def test_what_a_user_can_mend_exits_with_2_and_no_traceback(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(ADAPTERS)
    chosen = [str(space) if word == "SPACE" else word for word in arguments]
    out = [] if "--resume" in chosen else ["--out", str(tmp_path / "out")]
    assert words in mistake(capsys, "sweep", *chosen, *out)
