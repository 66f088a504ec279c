"""Which examples of a domain a teacher is shown before it writes a new one."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from baldistill.records import Example
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.synthesis import TailDomain


def domain(number: int, first: set[int]) -> TailDomain:
    shown = [Example(str(i), "d", f"{i}?", "x") for i in range(number)]
    others = [one for i, one in enumerate(shown) if i not in first]
    return TailDomain(
        others, ExistingQuestions(0.9), first=[shown[i] for i in sorted(first & set(range(number)))]
    )


@given(st.integers(0, 12), st.sets(st.integers(0, 15)), st.integers(1, 8), st.integers(0, 99))
def test_those_that_are_to_be_first_are_shown_before_others(
    number: int, first: set[int], wanted: int, seed: int
) -> None:
    tail = domain(number, first)
    shown = [int(one.example_id) for one in tail.sample(wanted, random.Random(seed))]
    assert len(shown) == len(set(shown)) == min(wanted, number)
    held = first & set(range(number))
    num_first = min(wanted, len(held))
    assert set(shown[:num_first]) <= held
    assert not set(shown[num_first:]) & held


@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
def test_without_any_they_are_the_sample_that_they_always_were(
    number: int, wanted: int, seed: int
) -> None:
    """Request ids of new examples depend on it."""
    tail = domain(number, set())
    plain = random.Random(seed).sample(list(tail.demonstrations), min(wanted, number))
    assert tail.sample(wanted, random.Random(seed)) == plain
