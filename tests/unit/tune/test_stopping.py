"""Early stopping: Ray's schedulers are given progress and score as our trials report them."""

from __future__ import annotations

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from baldistill.errors import ConfigError
from baldistill.tune.space import Asha, Median, NoStopping
from baldistill.tune.stopping import check_stages, scheduler_of

STAGES = 4


def decisions(scheduler: TrialScheduler, scores: list[list[float]]) -> list[int]:
    """After how many stages each trial ended, the trials one after the other."""
    ended = []
    for number, of_stages in enumerate(scores):
        trial = Trial("function", stub=True, trial_id=f"t{number}")
        scheduler.on_trial_add(None, trial)
        last = 0
        for stage, score in enumerate(of_stages, 1):
            last = stage
            result = {
                "progress": 100.0 * stage / len(of_stages),
                "score": score,
                "training_iteration": stage,
                "time_total_s": float(stage),
            }
            if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                break
        ended.append(last)
    return ended


GOOD, WEAK = [0.1, 0.5, 0.7, 0.8], [0.2, 0.3, 0.4, 0.5]


def test_asha_stops_the_weak_at_half_of_their_stages_and_not_before() -> None:
    assert decisions(scheduler_of(Asha()), [GOOD, WEAK, GOOD, WEAK]) == [4, 2, 4, 2]


def test_asha_compares_at_the_same_share_of_stages() -> None:
    two_stages = [0.3, 0.6]  # weak at half: after its first stage
    assert decisions(scheduler_of(Asha()), [GOOD, two_stages]) == [4, 1]


@pytest.mark.parametrize(
    ("asha", "stages", "unlike"),
    [
        (Asha(), [2, 4, 6], None),
        (Asha(), [3], None),
        (Asha(), [2, 3], "50% of 2, 67% of 3"),
        (Asha(), [1, 4], "100% of 1, 50% of 4"),
        (Asha(grace=0.25), [4, 8], None),
        (Asha(grace=0.25), [2, 4], "50% of 2, 25% of 4"),
        (Asha(grace=0.2, reduction_factor=3), [5, 10], None),
        (Asha(grace=0.25, reduction_factor=3), [4, 6], "25% of 4, 33% of 6"),
        (Asha(grace=0.333), [3, 6], None),
        (Asha(grace=1.0), [1, 2, 3], None),
        (Median(), [1, 2, 3], None),
        (NoStopping(), [1, 2, 3], None),
    ],
)
def test_asha_is_refused_where_it_would_compare_unlike_shares(
    asha: Asha | Median | NoStopping, stages: list[int], unlike: str | None
) -> None:
    if unlike is None:
        check_stages(asha, stages)
        return
    with pytest.raises(ConfigError, match="use stopping none or median") as caught:
        check_stages(asha, stages)
    assert f"({unlike})" in str(caught.value)


def test_a_rung_is_met_at_the_first_stage_at_or_beyond_it() -> None:
    three_stages = [0.1, 0.4, 0.9]  # which Ray would compare with half of four
    assert decisions(scheduler_of(Asha()), [GOOD, three_stages]) == [4, 2]


def test_a_longer_grace_lets_late_starters_finish() -> None:
    assert decisions(scheduler_of(Asha(grace=1.0)), [GOOD, WEAK]) == [4, 4]


def test_the_median_rule_waits_for_enough_trials() -> None:
    ended = decisions(scheduler_of(Median(min_trials=2)), [GOOD, WEAK, GOOD, [0.0] * 4])
    assert ended[:3] == [4, 4, 4]
    assert ended[3] == 2


def test_without_stopping_every_trial_ends_by_itself() -> None:
    assert decisions(scheduler_of(NoStopping()), [GOOD, WEAK, WEAK]) == [4, 4, 4]
