"""Scores from the student's conclusions: wrong answers first, and how much answers disagree."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.answers import equal, extract
from baldistill.core.student_scores import disagreement, wrongness

ANSWERS = st.lists(
    st.tuples(st.sampled_from([True, False, None]), st.floats(0, 1e6) | st.just(math.nan)),
    min_size=1,
)


@given(ANSWERS)
def test_wrong_answers_stand_first_and_each_side_in_the_order_of_ifd(
    answers: list[tuple[bool | None, float]],
) -> None:
    correct, ifd = zip(*answers, strict=True)
    scores = wrongness(correct, np.array(ifd))
    for (right, difficulty), score in zip(answers, scores, strict=True):
        known = 0.0 if math.isnan(difficulty) else difficulty
        assert score == pytest.approx((right is not True) + known / (1 + known), abs=1e-12)
        assert (score >= 1) == (right is not True)


def test_an_ifd_without_bound_does_not_lift_a_right_answer_above_a_wrong_one() -> None:
    assert wrongness([True, False], np.array([math.inf, 0.0])).tolist() == [1.0, 1.0]
    assert wrongness([False], np.array([math.inf])).tolist() == [2.0]


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=12))
def test_disagreement_is_what_the_largest_group_leaves(conclusions: list[str | None]) -> None:
    counts = Counter(c for c in conclusions if c is not None)
    largest = max([1, *counts.values()])
    found = disagreement(conclusions, lambda a, b: a == b)
    assert found == pytest.approx(1 - largest / len(conclusions))
    assert found == disagreement(conclusions[::-1], lambda a, b: a == b)


def test_wrong_answers_are_those_that_llm2llm_keeps() -> None:
    """Its filter: numbers by their digits alone, a response without an answer is wrong."""

    def as_number(text: str) -> float:
        return float("".join(sign for sign in text if sign.isdigit() or sign == "."))

    rows = [
        ("72", "48 + 24 = 72.\nAnswer: 72"),
        ("1,000", "Ten hundreds.\nAnswer: 1000"),
        ("5.50", "Half of 11.\nAnswer: $5.5"),
        ("13", "One too few.\nAnswer: 12"),
        ("7", "I cannot say."),
        ("240", "Each of 4 costs 60.\nAnswer: 24"),
    ]
    found, kept = [], []
    for gold, response in rows:
        found.append(equal("math", extract("math", response), gold))
        _, marker, answer = response.partition("Answer: ")
        kept.append(not marker or as_number(answer) != as_number(gold))
    assert [score >= 1 for score in wrongness(found, np.full(6, np.nan))] == kept
    assert sum(kept) == 3
