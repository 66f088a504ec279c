"""Comparisons give every method the same training and refuse mixed subjects."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.commands.compare import compare, on_equal_terms, split_methods
from baldistill.config import Config
from baldistill.config.loading import dump_config, load_config
from baldistill.errors import ConfigError, UserError
from baldistill.run_folder.lock import only_run_in
from baldistill.storage import Storage


def steps(overrides: list[str], method: str) -> float:
    """Examples that the optimiser saw for the last student, for a budget that stages divide."""
    config = on_equal_terms(load_config(None, overrides, method), load_config(None, overrides))
    first = 1 if config.student.init == "previous" else config.stages
    batches = range(first, config.stages + 1)
    return sum(config.student.epochs * config.budget.total * i / config.stages for i in batches)


@pytest.mark.parametrize("init", ["previous", "base"])
@pytest.mark.parametrize("stages", [2, 4, 5])
@pytest.mark.parametrize("method", ["random-ft", "random-ft-cot", "balance-ft-cot"])
def test_one_stage_methods_train_as_much_as_staged_ones(
    init: str, stages: int, method: str
) -> None:
    overrides = [f"stages={stages}", f"student.init={init}"]
    assert steps(overrides, method) == pytest.approx(steps(overrides, "baldistill-a"))


def test_training_on_each_batch_alone_needs_no_correction() -> None:
    staged = load_config(None, ["student.data=stage"])
    config = load_config(None, ["student.data=stage"], "random-ft-cot")
    assert on_equal_terms(config, staged).student.epochs == config.student.epochs


def test_benchmarks_are_left_out() -> None:
    config = load_config(None, ["evaluation.benchmarks=[hellaswag]"])
    assert on_equal_terms(config, config).evaluation.benchmarks == ()


def test_a_folder_holds_one_subject(tmp_path: Path) -> None:
    (tmp_path / "subject.json").write_text("{}")
    with pytest.raises(ConfigError, match="another corpus"):
        compare(
            lambda method, seed: load_config(None, [f"seed={seed}"], method),
            ["zero-shot-cot"],
            [0],
            run_dir=tmp_path,
            quiet=True,
        )


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        compare(lambda method, seed: load_config(), [], [0], run_dir=tmp_path, quiet=True)


UNLABELLED = [
    "data.columns.answer=null",
    "rationale.sees=question",
    "rationale.accept=majority",
    "evaluation.gold=teacher",
]


def test_presets_that_cannot_run_are_told_from_those_that_can() -> None:
    names = ("random-ft-cot", "baldistill-e", "baldistill-a")
    runnable, reasons = split_methods(
        lambda name: load_config(None, UNLABELLED, name, method_wins=True), names
    )
    assert runnable == ("random-ft-cot", "baldistill-a")
    assert list(reasons) == ["baldistill-e"]
    assert "budget.policy=errors" in reasons["baldistill-e"]


def test_a_reference_that_is_not_compared_is_an_error_before_anything_starts(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="--reference baldistill-n is none of the methods"):
        compare(
            lambda method, seed: load_config(None, [f"seed={seed}"], method),
            ["zero-shot-cot"],
            [0],
            reference="baldistill-n",
            run_dir=tmp_path,
            quiet=True,
        )
    assert list(tmp_path.iterdir()) == []


def completed(folder: Storage, config: Config) -> None:
    """A run as it lies there when it is complete: it is not made again."""
    run = folder.sub(f"zero-shot-cot/seed-{config.seed}")
    figures = dict.fromkeys(("macro", "micro", "natural", "head", "tail"), 0.5)
    budget = {"total": {"calls": 0, "reused": 0}, "by_tier": {}, "annotated": 0}
    per_domain = {"sums": {"score": 0.5, "count": 2}}
    run.write_json("metrics.json", {**figures, "per_domain": per_domain, "budget": budget})
    run.write_json("_commits/corpus.json", {"figures": {"counts": {"sums": 3}}, "seconds": 0.1})
    run.write_text("config.yaml", dump_config(config))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_run_that_fails_beside_others_is_named_and_loses_nothing(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    small = ["student.resources.num_cpus=0", "teacher.resources.num_cpus=0"]
    configs = [load_config(None, [*small, f"seed={seed}"], "zero-shot-cot") for seed in range(4)]
    for config in (configs[0], *configs[2:]):
        completed(folder, config)
    arguments = (lambda method, seed: configs[seed], ["zero-shot-cot"], range(4))
    with only_run_in(folder.sub("zero-shot-cot/seed-1")), pytest.raises(UserError) as told:
        compare(*arguments, run_dir=tmp_path, parallel=2, quiet=True)
    first, last = str(told.value).splitlines()
    assert first.startswith("zero-shot-cot, seed 1: another run is at work")
    assert last.endswith("of 4 runs are complete; the same command goes on")
    assert "\x1b" not in str(told.value)
    assert "Traceback" not in str(told.value)
    completed(folder, configs[1])
    data = compare(*arguments, run_dir=tmp_path, parallel=2, quiet=True)
    assert [row["seeds"] for row in data["rows"]] == [[0, 1, 2, 3]]


def test_two_comparisons_do_not_share_a_folder(tmp_path: Path) -> None:
    arguments = (lambda method, seed: load_config(), ["zero-shot-cot"], [0])
    with (
        only_run_in(Storage.open(tmp_path)),
        pytest.raises(UserError, match="another run is at work"),
    ):
        compare(*arguments, run_dir=tmp_path, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
