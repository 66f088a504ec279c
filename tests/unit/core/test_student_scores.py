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


def llm2llm_says_equal(one: str, other: str) -> bool:
    """LLM2LLM's comparison (`GSM8K/filter.py`, 63f0b01): digits and points alone, else the text.

    Texts are compared lower-cased and without commas, where a side has no digit or no one number.
    """
    try:
        numbers = [
            float("".join(sign for sign in text if sign.isdigit() or sign == "."))
            for text in (one, other)
        ]
    except ValueError:
        return one.lower().replace(",", "") == other.lower().replace(",", "")
    return numbers[0] == numbers[1]


def kept_by_llm2llm(gold: str, response: str) -> bool:
    """Tell whether its filter keeps a response as wrong; one without an answer line is wrong."""
    _, marker, answer = response.partition("Answer: ")
    return not marker or not llm2llm_says_equal(gold, answer)


def is_wrong(gold: str, response: str) -> bool:
    right = equal("math", extract("math", response), gold)
    return bool(wrongness([right], np.array([math.nan]))[0] >= 1)


@pytest.mark.parametrize(
    ("gold", "response", "wrong"),
    [
        ("72", "48 + 24 = 72.\nAnswer: 72", False),
        ("1,000", "Ten hundreds.\nAnswer: 1000", False),
        ("5.50", "Half of 11.\nAnswer: $5.5", False),
        ("13", "One too few.\nAnswer: 12", True),
        ("7", "I cannot say.", True),
        ("240", "Each of 4 costs 60.\nAnswer: 24", True),
        # numbers with signs
        ("-3", "Down by 3.\nAnswer: -3", False),
        ("-3", "Down by 4.\nAnswer: -4", True),
        ("-1,250", "A debt.\nAnswer: -$1250", False),
        ("3", "Up by 3.\nAnswer: +3", False),
        # the fallback: a side without a digit, or with several points
        ("Yes", "It is.\nAnswer: yes", False),
        ("yes", "It is not.\nAnswer: No", True),
        ("x", "It has the name X.\nAnswer: X", False),
        ("12", "I cannot say.\nAnswer: unknown", True),
        ("none", "Nothing is left.\nAnswer: 7", True),
        ("1.2.3", "The third.\nAnswer: 1.2.3", False),
        ("1.2.3", "The fourth.\nAnswer: 1.2.4", True),
    ],
)
def test_wrong_answers_are_those_that_llm2llm_keeps(gold: str, response: str, wrong: bool) -> None:
    assert kept_by_llm2llm(gold, response) == wrong
    assert is_wrong(gold, response) == wrong


@pytest.mark.parametrize(
    ("gold", "answer", "wrong"),
    [
        # by digits alone these are the same number, and here they are not
        ("3", "-3", True),
        ("-3", "3", True),
        ("1/2", "12", True),
        # by digits or letters these differ, and here they are the same value
        ("1/2", "0.5", False),
        ("50%", "0.5", False),
        ("7", "seven", False),
        ("red", "Red.", False),
        # a comma between words separates them
        ("a, b", "a b", True),
    ],
)
def test_where_values_are_compared_and_llm2llm_compares_digits(
    gold: str, answer: str, wrong: bool
) -> None:
    """Deliberate: an answer is right by its value, with sign and fraction, not by its digits."""
    response = f"So.\nAnswer: {answer}"
    assert is_wrong(gold, response) == wrong
    assert kept_by_llm2llm(gold, response) != wrong
