"""Means with their 95 % intervals, and differences that the same seeds pair."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.960  # the same quantile of the normal distribution


class Interval(TypedDict):
    """A mean and half the width of its 95 % interval, as `comparison.json` holds them."""

    mean: float | None
    half: float | None


def interval(values: Sequence[float]) -> Interval:
    """Compute the mean and half the width of its 95 % confidence interval (Student's t).

    The half width is None for fewer than two values, and the mean for none.
    """
    if not values:
        return {"mean": None, "half": None}
    mean = statistics.mean(values)
    if len(values) < 2:
        return {"mean": mean, "half": None}
    width = _quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": mean, "half": width}


def paired(values: Mapping[int, float | None], reference: Mapping[int, float | None]) -> Interval:
    """Compute mean and interval of the differences to a reference, seed by seed.

    What a seed does to both cancels out, so the interval is narrower than those of the two means.

    Args:
        values: Figure by seed.
        reference: The same figure of the reference. Seeds that only one of them has are left out.
    """
    differences = [
        value - other
        for seed, value in values.items()
        if value is not None and (other := reference.get(seed)) is not None
    ]
    return interval(differences)


def is_clear_of_zero(difference: Mapping[str, float | None]) -> bool:
    """Tell whether an interval lies on one side of 0. Without an interval nothing is claimed."""
    mean, half = difference["mean"], difference["half"]
    return mean is not None and half is not None and abs(mean) > half


def _quantile(freedom: int) -> float:
    """Return the 95 % quantile of t, beyond the table by a fit that is right to 0.001."""
    # The excess over the normal quantile falls as 1 / freedom.
    if freedom <= len(_T):
        return _T[freedom - 1]
    return _NORMAL + (_T[-1] - _NORMAL) * len(_T) / freedom
