"""A trial must fit before it starts; a tracker needs its package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from baldistill.config.loading import load_config
from baldistill.errors import MissingPackageError, ResourceError
from baldistill.placement.resources import Cluster
from baldistill.storage import Storage
from baldistill.tune.plan import make_plan
from baldistill.tune.record import TrialRecord
from baldistill.tune.space import parse_space
from baldistill.tune.tuner import Forecast, trackers_of

SPACE = "search: grid\nparameters: {student.epochs: {kind: choice, values: [1, 2]}}\n"


def test_a_trial_that_a_search_proposes_must_fit_beside_the_others(tmp_path: Path) -> None:
    plan = make_plan(load_config(), parse_space(SPACE, "test"))
    forecast = Forecast(Storage.open(tmp_path), plan, Cluster.single(8), width=2)
    record = TrialRecord("t001", {}, {})
    assert forecast(record, load_config()) == 0, "no cap: nothing to bound"
    with pytest.raises(ResourceError, match="at most --parallel 1"):
        forecast(record, load_config(None, ["student.num_workers=4"]))


@pytest.mark.parametrize(
    ("change", "package", "words"),
    [
        ({}, "tensorboardX", "tensorboard"),
        ({"tensorboard": False, "mlflow": {}}, "mlflow", r"baldistill\[mlflow\]"),
        ({"tensorboard": False, "wandb": {}}, "wandb", r"baldistill\[wandb\]"),
    ],
)
def test_a_tracker_without_its_package_is_told(
    change: dict[str, object], package: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else found(name)
    )
    space = parse_space(
        "search: grid\nparameters: {a: {kind: choice, values: [1]}}", "test", change
    )
    with pytest.raises(MissingPackageError, match=words):
        trackers_of(space)
    assert package not in sys.modules or package == "tensorboardX"


def test_tensorboard_is_the_default_and_can_be_left_out() -> None:
    text = "search: grid\nparameters: {a: {kind: choice, values: [1]}}"
    assert [type(one).__name__ for one in trackers_of(parse_space(text, "t"))] == [
        "TBXLoggerCallback"
    ]
    assert trackers_of(parse_space(text, "t", {"tensorboard": False})) == []
