"""Comparisons give every method the same training and refuse mixed subjects."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.config_file import load_config
from baldistill.errors import ConfigError
from baldistill.pipeline.compare import compare, on_equal_terms


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


def test_a_folder_holds_one_subject(tmp_path: Path) -> None:
    (tmp_path / "subject.json").write_text("{}")
    with pytest.raises(ConfigError, match="another corpus"):
        compare(
            lambda method, seed: load_config(None, [f"seed={seed}"], method),
            ["zero-shot-cot"],
            [0],
            out=tmp_path,
            quiet=True,
        )


def test_nothing_to_compare_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        compare(lambda method, seed: load_config(), [], [0], out=tmp_path, quiet=True)
