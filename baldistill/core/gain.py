"""Spend units where they lower the expected error most: the arithmetic of the `gain` policy.

If the error of domain d falls as a power of the examples it was trained on, q_d further units
leave weight_d (size_d / (size_d + q_d))^b of it. `spend` finds the whole numbers q_d of a given
sum that minimise the sum of these errors, or the largest of them.

Both are separable and convex, so a greedy rule is exact: the next unit goes where it lowers the
sum most, or where the error is largest. Its first units are found all at once by the continuous
solution (for the sum: q_d = (weight_d b size_d^b / lambda)^(1 / (1 + b)) - size_d, or 0), which
is at most one unit a domain behind; the others follow one by one.

Source: the optimum of Slice Tuner (Tae and Whang 2021) without its fairness term, with one
exponent for all slices.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_HALVINGS = 80


class Expected(NamedTuple):
    """The figures that decide the expected error of a domain.

    Attributes:
        weight: Its error now, times how much it counts; 0 or more.
        size: The examples it was trained on and the offset n0 together; above 0.
    """

    weight: float
    size: float


def spend(
    domains: Mapping[str, Expected], amount: int, exponent: float, *, largest: bool = False
) -> dict[str, int]:
    """Share units among domains so that the sum of their expected errors is smallest.

    Ties go by the domains' names. A domain of weight 0 gets nothing, unless all have weight 0.

    Args:
        domains: What is expected of each; at least one.
        amount: Units to share, 0 or more.
        exponent: b, above 0.
        largest: Make the largest error smallest, in place of the sum.

    Returns:
        Units of each domain, summing to exactly `amount`.
    """
    names = sorted(domains)
    if not any(domains[name].weight for name in names):
        domains = {name: Expected(1.0, domains[name].size) for name in names}
    start = _at_once([domains[name] for name in names], amount, exponent, largest)
    units = dict(zip(names, start, strict=True))

    def urgency(name: str) -> float:
        return -_worth(domains[name], units[name], exponent, largest)

    queue = [(urgency(name), name) for name in names if domains[name].weight]
    heapq.heapify(queue)
    for _ in range(amount - sum(start)):
        _, name = queue[0]
        units[name] += 1
        heapq.heapreplace(queue, (urgency(name), name))
    return units


def _worth(expected: Expected, units: int, exponent: float, largest: bool) -> float:
    """Return what the next unit lowers the error by; or the error before it."""
    size = expected.size + units
    error = expected.weight * (expected.size / size) ** exponent
    worth = error if largest else -error * math.expm1(-exponent * math.log1p(1 / size))
    return float(f"{worth:.12g}")  # the last bit of one machine's pow() cannot move a unit


def _at_once(domains: list[Expected], amount: int, exponent: float, largest: bool) -> list[int]:
    """Return units that the greedy rule gives for certain, nearly all of them.

    The units that are worth more than a limit are those below the continuous solution at this
    limit, and at most one more in each domain. So while the solution leaves one for each domain,
    all that it gives are among the best.
    """
    weights, sizes = (np.array(column, dtype=np.float64) for column in zip(*domains, strict=True))
    with np.errstate(divide="ignore"):
        logs = np.log(weights)
    if not largest:
        logs = logs + math.log(exponent) + exponent * np.log(sizes)

    def solution(limit: float) -> NDArray[np.float64]:
        if largest:
            units = sizes * np.expm1(np.minimum((logs - limit) / exponent, 700.0))
        else:
            units = np.exp(np.minimum((logs - limit) / (1 + exponent), 700.0)) - sizes
        whole: NDArray[np.float64] = np.floor(np.clip(units, 0, amount))
        return whole

    if (most := amount - len(domains)) <= 0:
        return [0] * len(domains)
    high = float(np.max(logs if largest else logs - (1 + exponent) * np.log(sizes)))
    step = 1.0
    while solution(high - step).sum() < most:
        step *= 2
    low = high - step
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if solution(middle).sum() <= most:
            high = middle
        else:
            low = middle
    return [int(units) for units in solution(high)]
