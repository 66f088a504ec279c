"""Early stopping of weak trials by Ray Tune's schedulers, on the progress of a trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from baldistill.errors import ConfigError
from baldistill.tune.space import Asha, Median, NoStopping

_WHOLE = 100.0
_EPSILON = 1e-9


def check_stages(stopping: Asha | Median | NoStopping, numbers: Sequence[int]) -> None:
    """Check that ASHA compares trials at the same share of their stages.

    A trial is compared after the first stage at or beyond a rung. At a rung of 50 % a trial of
    three stages is compared after its second, at 67 %; a trial of two after its first, at 50 %.
    `numbers` are the numbers of stages that a trial may have.

    Raises:
        ConfigError: At a rung trials would be at different shares.
    """
    if not isinstance(stopping, Asha):
        return
    for rung in _rungs(stopping):
        if len({_share_at(rung, stages) for stages in numbers}) > 1:
            shares = ", ".join(f"{_share_at(rung, n):.0%} of {n}" for n in sorted(set(numbers)))
            raise ConfigError(
                f"stopping asha compares trials at {rung:.0%} of their stages, and those of other "
                f"numbers of stages are not there at the same time ({shares}): use stopping none "
                "or median, or numbers of stages with one that ends there"
            )


def _rungs(asha: Asha) -> Iterator[float]:
    """Yield the shares of the stages, below 100 %, at which Ray compares trials."""
    rung = asha.grace
    while rung < 1.0 - _EPSILON:
        yield rung
        rung *= asha.reduction_factor


def _share_at(rung: float, stages: int) -> float:
    """Return the share of its stages at which a trial is compared."""
    return math.ceil(rung * stages - _EPSILON) / stages


def scheduler_of(stopping: Asha | Median | NoStopping) -> TrialScheduler:
    """Return the scheduler of a space.

    The scheduler compares trials at the same share of their stages (`progress`, in percent), not
    at the same stage: a trial may have two stages and another six.
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
