"""What a sweep checks of a trial before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.config.loading import load_config
from baldistill.errors import ResourceError
from baldistill.placement.resources import Cluster
from baldistill.storage import Storage
from baldistill.tune.plan import make_plan
from baldistill.tune.record import TrialRecord
from baldistill.tune.space import parse_space
from baldistill.tune.trials import _Forecast

SPACE = "search: grid\nparameters: {student.epochs: {kind: choice, values: [1, 2]}}\n"


def test_a_trial_that_a_search_proposes_must_fit_beside_the_others(tmp_path: Path) -> None:
    plan = make_plan(load_config(), parse_space(SPACE, "test"))
    forecast = _Forecast(Storage.open(tmp_path), plan, Cluster.single(8), width=2)
    record = TrialRecord("t001", {}, {})
    assert forecast(record, load_config()) == 0, "no cap: nothing to bound"
    with pytest.raises(ResourceError, match="at most --parallel 1"):
        forecast(record, load_config(None, ["student.num_workers=4"]))
