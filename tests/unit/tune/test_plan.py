"""Plans: every shipped space fits the quickstart; configs of trials; which engines are shared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from baldistill.config.loading import load_config
from baldistill.errors import ConfigError, MissingPackageError
from baldistill.method.plan import equal_steps
from baldistill.tune.plan import config_of, for_trial, make_plan
from baldistill.tune.space import dump_space, load_space, parse_space
from baldistill.yaml12 import read_yaml, write_yaml

ROOT = Path(__file__).resolve().parents[3]
SPACES = sorted((ROOT / "tune_spaces").glob("*.yaml"))
TINY = "search: grid\nparameters: {student.epochs: {kind: choice, values: [1, 2]}}\n"


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_shipped_space_fits_the_quickstart(path: Path) -> None:
    space = load_space(path)
    assert parse_space(dump_space(space), "again") == space
    if space.search == "optuna":  # its points come one by one: as good as random ones here
        space = space.model_copy(update={"search": "random"})
    plan = make_plan(load_config(), space)
    configs = plan.configs()
    assert len(configs) == plan.num_trials >= 6
    texts = {str(config.model_dump()) for config in configs}
    assert len(texts) == len(configs), "no config twice"


def test_the_shipped_tail_share_sweep_has_twelve_trials() -> None:
    plan = make_plan(load_config(), load_space(ROOT / "tune_spaces" / "tail-share.yaml"))
    shares = [config.model_dump()["budget"]["policy"]["tail_shares"] for config in plan.configs()]
    assert len(shares) == 12
    assert shares != sorted(shares), "weak and strong by turns, so that weak ones can be stopped"
    assert min(shares) == (0.0,) * 4
    assert max(shares) == (1.0,) * 4


def test_another_stopping_rule_leaves_every_trial_of_a_grid_what_it_was() -> None:
    space = load_space(ROOT / "tune_spaces" / "tail-share.yaml")
    other = load_space(ROOT / "tune_spaces" / "tail-share.yaml", {"stopping": "none"})
    assert make_plan(load_config(), space).configs() == make_plan(load_config(), other).configs()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fixed": {"budgt.total": 5}}, ["fixed", "did you mean budget?"]),
        (
            {"parameters": {"student.epoch": {"kind": "choice", "values": [1]}}},
            ["t001", "did you mean student.epochs?"],
        ),
        (
            {"parameters": {"student.epochs": {"kind": "choice", "values": [1, -1]}}},
            ["t002", "student.epochs", "greater than 0"],
        ),
        ({"trials": 1}, ["the grid has 2 points and trials says 1"]),
        (
            {
                "parameters": {
                    "stages": {"kind": "choice", "values": [1, 2]},
                    "budget.policy.weights": {"kind": "per_stage", "shape": "free"},
                }
            },
            ["stages varies too"],
        ),
    ],
)
def test_what_a_config_does_not_take_is_told_before_anything_starts(
    change: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(load_config(), parse_space(TINY, "tiny.yaml", change))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("search", ["grid", "random", "optuna"])
@pytest.mark.parametrize(
    "stages",
    [{"kind": "choice", "values": [2, 3, 4]}, {"kind": "int", "low": 2, "high": 4}],
)
def test_asha_needs_numbers_of_stages_that_meet(search: str, stages: dict[str, Any]) -> None:
    if search == "optuna":
        pytest.importorskip("optuna")
    change = {"search": search, "trials": 3, "parameters": {"stages": stages}}
    with pytest.raises(ConfigError, match=r"asha compares .*67% of 3"):
        make_plan(load_config(), parse_space(TINY, "tiny.yaml", change))
    make_plan(load_config(), parse_space(TINY, "tiny.yaml", change | {"stopping": "median"}))
    even = change | {"parameters": {"stages": {"kind": "choice", "values": [4, 2, 6]}}}
    make_plan(load_config(), parse_space(TINY, "tiny.yaml", even))


def test_a_missing_space_and_a_missing_package_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_space(tmp_path / "no.yaml")
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    space = parse_space(TINY, "tiny", {"search": "optuna", "trials": 3})
    with pytest.raises(MissingPackageError, match=r"baldistill\[sweep\]"):
        make_plan(load_config(), space)


@pytest.mark.parametrize("stages", [1, 2, 8])
def test_other_numbers_of_stages_train_for_as_many_steps(stages: int) -> None:
    base = load_config()
    config = equal_steps(load_config(None, [f"stages={stages}"]), base)
    seen = [c.student.epochs * sum(range(1, c.stages + 1)) / c.stages for c in (config, base)]
    assert seen[0] == pytest.approx(seen[1])
    alone = load_config(None, [f"stages={stages}", "student.data=stage"])
    assert equal_steps(alone, base) == alone
    afresh = load_config(None, [f"stages={stages}", "student.init=base"])
    assert equal_steps(afresh, base) == afresh
    long = equal_steps(afresh, base, any_start=True)  # as one stage with the whole budget
    assert long.student.epochs == pytest.approx(base.student.epochs * (base.stages + 1) / 2)
    assert equal_steps(base, afresh, any_start=True).student.epochs * (
        base.stages + 1
    ) == pytest.approx(afresh.student.epochs * 2)


def test_a_trial_reports_every_stage_and_keeps_its_part_of_the_cap() -> None:
    base = load_config(None, ["evaluation.every_stage=false"])
    space = parse_space(TINY, "tiny")
    config = config_of(base, space, {"student.epochs": 2}, "t001")
    assert config.student.epochs == 2
    assert not config.evaluation.every_stage
    trial = for_trial(config, 77)
    assert trial.evaluation.every_stage
    assert trial.budget.calls == 77
    assert for_trial(config, None).budget.calls is None
    asked = load_config(None, ["evaluation.benchmarks=[hellaswag]"])
    assert for_trial(asked, None).evaluation.benchmarks == ()


def test_engines_are_shared_unless_the_space_reaches_into_them() -> None:
    def shares(key: str, value: object) -> bool:
        space = read_yaml(TINY) | {"parameters": {key: {"kind": "choice", "values": [value]}}}
        return make_plan(load_config(), parse_space(write_yaml(space), "x")).shares_engines

    assert shares("student.epochs", 2)
    assert shares("student.response.max_new_tokens", 5)
    assert not shares("teacher.rationale.temperature", 0.5)
    assert not shares("student.resources.replicas", 1)
    assert not shares("student.num_workers", 1)
    assert not shares("student.worker_resources.num_cpus", 2)
    assert not shares("student.model", "another")
