"""When a weak trial is ended early: Ray Tune's schedulers on the progress of a trial."""

from __future__ import annotations

import math

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from baldistill.tune.space import Asha, Median, NoStopping

_WHOLE = 100.0


def scheduler_of(stopping: Asha | Median | NoStopping) -> TrialScheduler:
    """The scheduler of a space.

    It compares trials at the same share of their stages (`progress`, in percent), not at the same
    stage: a trial may have two stages and another six.
    """
    match stopping:
        case Asha(grace=grace, reduction_factor=factor):
            return AsyncHyperBandScheduler(
                time_attr="progress",
                metric="score",
                mode="max",
                max_t=_WHOLE,
                grace_period=_WHOLE * grace,
                reduction_factor=factor,
            )
        case Median(grace=grace, min_trials=trials):
            return MedianStoppingRule(
                time_attr="progress",
                metric="score",
                mode="max",
                grace_period=_WHOLE * grace,
                min_samples_required=trials,
                min_time_slice=math.inf,  # never pause a trial to wait for others
            )
        case NoStopping():
            return FIFOScheduler()
