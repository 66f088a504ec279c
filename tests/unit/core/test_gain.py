"""The greedy spending of `gain` against a naive greedy, the closed form and an optimiser."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.gain import Expected, spend

DOMAINS = st.dictionaries(
    st.text("abcd", min_size=1, max_size=3),
    st.builds(
        Expected,
        st.one_of(st.just(0.0), st.just(0.5), st.floats(1e-4, 1)),
        st.one_of(st.just(10.0), st.floats(0.1, 500)),
    ),
    min_size=1,
    max_size=12,
)
EXPONENT = st.sampled_from([0.1, 0.5, 1.0, 2.0])


def errors_of(
    domains: dict[str, Expected], units: dict[str, int] | dict[str, float], exponent: float
) -> list[float]:
    return [d.weight * (d.size / (d.size + units[n])) ** exponent for n, d in domains.items()]


def one_by_one(domains: dict[str, Expected], amount: int, exponent: float) -> dict[str, int]:
    """The plain greedy rule, unit by unit."""
    units = dict.fromkeys(sorted(domains), 0)

    def drop(name: str) -> float:
        before = (
            domains[name].weight
            * (domains[name].size / (domains[name].size + units[name])) ** exponent
        )
        size = domains[name].size + units[name]
        return float(f"{-before * math.expm1(-exponent * math.log1p(1 / size)):.12g}")

    for _ in range(amount):
        units[max(units, key=lambda name: (drop(name), [-ord(c) for c in name.ljust(4)]))] += 1
    return units


@given(DOMAINS, st.integers(0, 300), EXPONENT)
def test_it_is_the_greedy_rule_and_sums_exactly(
    domains: dict[str, Expected], amount: int, exponent: float
) -> None:
    found = spend(domains, amount, exponent)
    assert list(found) == sorted(domains)
    assert sum(found.values()) == amount
    if any(d.weight for d in domains.values()):
        wanted = one_by_one(domains, amount, exponent)
        assert sum(errors_of(domains, found, exponent)) == pytest.approx(
            sum(errors_of(domains, wanted, exponent)), rel=1e-9
        )
        assert all(found[name] == 0 for name in domains if not domains[name].weight)


def every_split(amount: int, parts: int) -> list[tuple[int, ...]]:
    return [s for s in itertools.product(range(amount + 1), repeat=parts) if sum(s) == amount]


@pytest.mark.parametrize(("largest", "aim"), [(False, sum), (True, max)])
@given(
    domains=st.lists(
        st.builds(Expected, st.floats(0.01, 1), st.floats(0.5, 30)), min_size=3, max_size=3
    ),
    amount=st.integers(0, 12),
    exponent=EXPONENT,
)
def test_no_other_split_is_better(
    largest: bool,
    aim: Callable[[list[float]], float],
    domains: list[Expected],
    amount: int,
    exponent: float,
) -> None:
    named = dict(zip("abc", domains, strict=True))
    found = aim(errors_of(named, spend(named, amount, exponent, largest=largest), exponent))
    best = min(
        aim(errors_of(named, dict(zip("abc", split, strict=True)), exponent))
        for split in every_split(amount, 3)
    )
    assert found == pytest.approx(best, rel=1e-9)


@given(
    st.lists(st.builds(Expected, st.floats(0.01, 1), st.floats(1, 500)), min_size=2, max_size=9),
    st.integers(0, 100_000),
    EXPONENT,
)
def test_it_is_the_closed_form_up_to_whole_numbers(
    domains: list[Expected], amount: int, exponent: float
) -> None:
    """q_d = max(0, (w_d size_d^b / lambda)^(1 / (1 + b)) - size_d), with lambda from the sum."""
    low, high = 0.0, 1e9
    for _ in range(200):
        level = (low + high) / 2
        solution = [
            max(0.0, level * (d.weight * d.size**exponent) ** (1 / (1 + exponent)) - d.size)
            for d in domains
        ]
        low, high = (level, high) if sum(solution) < amount else (low, level)
    names = [f"{number:02}" for number in range(len(domains))]
    named = dict(zip(names, domains, strict=True))
    found = spend(named, amount, exponent)
    for name, exact in zip(names, solution, strict=True):
        assert abs(found[name] - exact) <= len(domains)
    relaxed = sum(errors_of(named, dict(zip(names, solution, strict=True)), exponent))
    assert sum(errors_of(named, found, exponent)) >= relaxed * (1 - 1e-9)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=9), st.integers(0, 3000), EXPONENT)
@pytest.mark.parametrize("largest", [False, True])
def test_equal_errors_are_filled_up_like_water(
    largest: bool, sizes: list[int], amount: int, exponent: float
) -> None:
    """Of equal curves that have come differently far, the shortest go on until all are level."""
    names = [f"{number:02}" for number in range(len(sizes))]
    domains = {n: Expected(size**-exponent, size) for n, size in zip(names, sizes, strict=True)}
    found = spend(domains, amount, exponent, largest=largest)
    levels = {name: size + found[name] for name, size in zip(names, sizes, strict=True)}
    reached = [levels[name] for name in names if found[name]]
    if reached:
        assert max(reached) - min(reached) <= 1
        assert all(level >= max(reached) - 1 for level in levels.values())


def test_with_the_exponent_1_totals_are_square_roots() -> None:
    """Neyman's allocation: weight / total, so totals in proportion to sqrt(weight * size)."""
    domains = {"a": Expected(0.9, 4.0), "b": Expected(0.4, 1.0), "c": Expected(0.1, 2.0)}
    found = spend(domains, 10_000, 1.0)
    roots = {name: math.sqrt(d.weight * d.size) for name, d in domains.items()}
    for name, root in roots.items():
        total = 10_007 * root / sum(roots.values())
        assert abs(found[name] + domains[name].size - total) <= 1


def test_three_slices_are_those_of_an_optimiser() -> None:
    """Slice Tuner's problem with Lambda = 0: min sum b_d (n_d + x_d)^(-a), sum x <= B, x >= 0."""
    optimize = pytest.importorskip("scipy.optimize")
    curves, sizes, amount, exponent = [2.0, 1.2, 3.5], [300.0, 40.0, 90.0], 500, 0.4
    solved = optimize.minimize(
        lambda x: float(np.sum(np.array(curves) * (np.array(sizes) + x) ** -exponent)),
        x0=np.full(3, amount / 3),
        jac=lambda x: -exponent * np.array(curves) * (np.array(sizes) + x) ** (-exponent - 1),
        bounds=[(0, amount)] * 3,
        constraints={"type": "eq", "fun": lambda x: np.sum(x) - amount, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    domains = {
        name: Expected(curve * size**-exponent, size)
        for name, curve, size in zip("abc", curves, sizes, strict=True)
    }
    found = spend(domains, amount, exponent)
    assert [found[name] for name in "abc"] == pytest.approx(solved.x, abs=1)
    assert solved.x == pytest.approx([0.0, 160.1, 339.9], abs=0.5)


def test_a_million_units_over_thousands_of_domains() -> None:
    domains = {f"{n:04}": Expected(0.5 / (n + 1), 10.0 + n) for n in range(3000)}
    for largest in (False, True):
        found = spend(domains, 1_000_000, 0.5, largest=largest)
        assert sum(found.values()) == 1_000_000
        assert found["0000"] > found["0100"] > found["1000"] or largest
