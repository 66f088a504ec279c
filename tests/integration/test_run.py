"""The main job as a user runs it: the whole loop, killed anywhere and resumed, and its errors."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import answered, decided, finish, kill_9, mistake, start, wait_until
from typer.testing import CliRunner

from baldistill import records
from baldistill.cli import app
from baldistill.config.loading import load_config
from baldistill.run_folder.integrity import committed_steps, step_damage
from baldistill.run_folder.steps import read_marker
from baldistill.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = [
    "stages=2",
    "budget.total=120",
    "data.bundled_rows=400",
    "data.bundled_evaluation_per_domain=4",
    "student.epochs=1",
    "student.response.max_new_tokens=32",
    "rationale.on_mismatch=label_only",
    "student.resources.replicas=1",
    "teacher.resources.replicas=2",
]
ONE_ENGINE_EACH = ["student.resources.replicas=1", "teacher.resources.replicas=1"]


def run(run_dir: Path, home: Path, *arguments: str) -> subprocess.Popen[str]:
    return start("run", "--run-dir", str(run_dir), *arguments, home=home)


@pytest.fixture(scope="module")
def undisturbed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small run that nothing disturbed, of one engine each, and what it printed."""
    run_dir = tmp_path_factory.mktemp("run") / "undisturbed"
    options = [*SMALL, *ONE_ENGINE_EACH, "--json"]
    done = CliRunner().invoke(app, ["run", "--run-dir", str(run_dir), *options])
    assert done.exit_code == 0, done.output
    return run_dir, done.output


def test_the_run_folder_has_what_the_readme_says(undisturbed: tuple[Path, str]) -> None:
    run_dir, output = undisturbed
    for name in ("config.yaml", "versions.json", "metrics.json", "report/index.html", "log.txt"):
        assert (run_dir / name).stat().st_size > 0
    assert str(load_config(run_dir / "config.yaml").budget.total) == "120"
    assert "\x1b" not in output, "no control codes without a terminal"
    shown = output.index("quotas"), output.index("stage 1/2:")
    assert shown == tuple(sorted(shown)), "the plan comes before the first stage"
    following = output[output.index("next:\n") :].splitlines()[1:-1]
    assert [line.split("  ")[1] for line in following] == [
        f"baldistill report {run_dir}",
        f"baldistill ask {run_dir}",
        "baldistill data describe my.yaml",
    ]
    result = json.loads(output.splitlines()[-1])
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert result["macro"] == metrics["macro"]
    assert set(metrics) >= {"macro", "micro", "head", "tail", "per_domain", "stages", "budget"}
    schemas = {
        "annotated": records.ANNOTATED,
        "synthesized": records.ANNOTATED,
        "rejected": records.REJECTED,
        "responses": records.RESPONSES,
    }
    for name, schema in schemas.items():
        assert pq.read_schema(run_dir / "stages" / "02" / f"{name}.parquet").equals(schema)


def test_the_budget_is_spent_and_never_exceeded(undisturbed: tuple[Path, str]) -> None:
    run_dir, _ = undisturbed
    budget = json.loads((run_dir / "metrics.json").read_text())["budget"]
    annotated = pa.concat_tables(
        pq.read_table(run_dir / "stages" / stage / "annotated.parquet") for stage in ("01", "02")
    )
    assert len(annotated) == budget["total"]["units"] <= 120
    real = annotated.filter(pa.compute.equal(annotated["source"], "real"))
    assert len(set(real["example_id"].to_pylist())) == len(real), "no real example twice"
    ids = answered(run_dir)
    assert len(ids) == len(set(ids)) == budget["total"]["calls"]


def test_a_student_of_each_stage_loads(undisturbed: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for stage in ("01", "02"):
        path = undisturbed[0] / "stages" / stage / "student"
        AutoModelForCausalLM.from_pretrained(path)
        AutoTokenizer.from_pretrained(path)


def test_kill_9_at_three_moments_equals_an_undisturbed_run(
    tmp_path: Path, undisturbed: tuple[Path, str]
) -> None:
    """While the teacher answers, while the student trains, and while it scores candidates."""
    run_dir = tmp_path / "killed"
    process = run(run_dir, tmp_path, *SMALL, "student.checkpoint={every_steps: 1}")
    before: set[str] = set()
    for moment in (
        "responses/*.parquet",
        "_commits/stages/01/annotated.json",
        "_commits/stages/02/plan.json",
    ):
        wait_until(lambda moment=moment: any(run_dir.glob(moment)), process)  # type: ignore[misc]
        kill_9(process)
        assert before <= set(answered(run_dir))
        before = set(answered(run_dir))
        process = run(run_dir, tmp_path)  # without a config: the folder's own
    finish(process)
    assert decided(run_dir) == decided(undisturbed[0])
    assert not list(run_dir.glob("stages/*/checkpoint"))
    ids = answered(run_dir)
    assert len(ids) == len(set(ids)), "an answered call was made again"
    assert before <= set(ids)


def test_markers_vouch_for_every_file_of_their_steps(undisturbed: tuple[Path, str]) -> None:
    storage = Storage.open(undisturbed[0])
    markers = [read_marker(storage, step) or {} for step in committed_steps(storage)]
    vouched = [file for marker in markers for file in marker["files"]]
    written = [file for name in ("corpus", "quarantine", "stages") for file in storage.files(name)]
    assert sorted(vouched) == [name for name in sorted(written) if "corpus/source/" not in name]
    assert step_damage(storage, thorough=True) == []


def test_damage_is_named_before_anything_starts(
    undisturbed: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(undisturbed[0], tmp_path / "damaged"))
    table = run_dir / "stages" / "01" / "annotated.parquet"
    rows = pq.read_table(table)
    pq.write_table(rows.slice(1), table)
    for command in (["run", "--run-dir", str(run_dir)], ["report", str(run_dir)]):
        said = mistake(capsys, *command)
        assert f"{table} has " in said
        assert f"({len(rows) - 1} rows), and " in said
        assert f"baldistill repair {run_dir}" in said
        assert "Ray:" not in said


def test_a_second_run_in_the_same_folder_is_refused(
    undisturbed: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    run_dir = undisturbed[0]
    with open(run_dir / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is at work" in mistake(capsys, "run", "--run-dir", str(run_dir))


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["budgt.total=1"], "did you mean budget?"),
        (["data.train=nowhere.jsonl", *ONE_ENGINE_EACH], "nowhere.jsonl"),
        (["teacher.resources.replicas=99"], "CPUs"),
        (["student.prompts=missing.yaml", *ONE_ENGINE_EACH], "missing.yaml"),
        (["nothing.yaml"], "does not exist"),
        (["teacher.kind=openai", "teacher.api_key_env=NO_SUCH_KEY"], "there is no NO_SUCH_KEY"),
    ],
)
def test_what_a_user_can_mend_exits_with_2_and_no_traceback(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--run-dir", str(tmp_path / "run"), *arguments]
    assert words in mistake(capsys, *arguments)


@pytest.mark.usefixtures("ray_session")
def test_a_cap_on_tokens_ends_the_run_with_what_it_has(tmp_path: Path) -> None:
    run_dir = tmp_path / "capped"
    options = [*SMALL, "stages=3", "budget.total=60", "budget.tokens=2500"]
    options += ONE_ENGINE_EACH
    done = CliRunner().invoke(app, ["run", "--run-dir", str(run_dir), *options])
    assert done.exit_code == 0, done.output
    budget = json.loads((run_dir / "metrics.json").read_text())["budget"]
    assert budget["stopped_by"] == "tokens"
    spent = budget["total"]
    # within the bound of one call, which holds some 700 tokens for the 70 that it uses
    assert 1700 < spent["prompt_tokens"] + spent["completion_tokens"] <= 2500
    assert 20 < budget["annotated"] == spent["units"] < 60
    short = budget["short_of_budget"]
    assert short == 60 - budget["annotated"]
    words = f"{short} examples short of the budget: the cap on tokens was reached (budget.tokens)"
    assert words in done.stderr
    assert "the run ends with the student of stage 2" in done.stderr
    assert (run_dir / "stages" / "02" / "student" / "config.json").exists()
    assert "reached the cap on tokens" in (run_dir / "report" / "index.html").read_text()
    shown = CliRunner().invoke(app, ["ledger", str(run_dir), "--json"])
    assert json.loads(shown.stdout.splitlines()[-1])["total"] == spent


def test_another_config_does_not_touch_a_run(
    undisturbed: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--run-dir", str(undisturbed[0]), *SMALL, "seed=7"]
    assert "another config" in mistake(capsys, *arguments)
