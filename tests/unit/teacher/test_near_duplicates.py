from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rapidfuzz.distance import Indel

from baldistill.teacher.near_duplicates import ExistingQuestions, words_of

LONG = " ".join(f"word{i}" for i in range(40))


def test_copies_differ_in_case_width_and_spaces_only() -> None:
    known = ExistingQuestions(0.95, ["What is 3 plus 4?"])
    assert known.fault("what  is 3 PLUS \uff14?") == "duplicate"
    assert known.fault("What is 3 plus 5?") is None
    assert known.fault("What is 34 plus 4?") is None
    known.add("What is 3 plus 5?")
    assert known.fault("What is 3 plus 5?") == "duplicate"


def test_one_word_of_forty_is_a_near_duplicate_and_of_ten_is_not() -> None:
    known = ExistingQuestions(0.95, [LONG])
    assert known.fault(LONG.replace("word7", "other")) == "near-duplicate"
    short = "one two three four five six seven eight nine ten"
    known.add(short)
    assert known.fault(short.replace("ten", "eleven")) is None


@pytest.mark.parametrize(
    ("threshold", "fault"), [(1.0, None), (0.98, None), (0.97, "near-duplicate")]
)
def test_the_threshold_is_the_similarity_from_which_it_counts(
    threshold: float, fault: str | None
) -> None:
    known = ExistingQuestions(threshold, [LONG])  # 39 of 40 words: 2 * 39 / 80 = 0.975
    assert known.fault(LONG.replace("word7", "other")) == fault


def test_what_domains_share_must_not_be_repeated_either() -> None:
    evaluation = ExistingQuestions(0.95, [LONG, "What is 3 plus 4?"])
    known = ExistingQuestions(0.95, ["What is 5 plus 6?"], evaluation)
    assert known.fault("what is 3 plus 4?") == "duplicate"
    assert known.fault(LONG.replace("word7", "other")) == "near-duplicate"
    assert known.fault("What is 7 plus 8?") is None
    assert ExistingQuestions(1.0, [], evaluation).fault(LONG) == "duplicate"


@given(st.lists(st.text()), st.text())
def test_any_text_can_be_compared(questions: list[str], question: str) -> None:
    known = ExistingQuestions(0.9, questions)
    known.add(question)
    assert known.fault(question) == "duplicate"


WORDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(" ".join)


@given(st.lists(WORDS, max_size=8), WORDS, st.floats(0.3, 1.0))
def test_questions_that_are_not_compared_could_not_be_near(
    questions: list[str], question: str, threshold: float
) -> None:
    """Only questions of similar length are compared, which finds what comparing all would find."""
    words = words_of(question)
    nearest = max((Indel.normalized_similarity(words_of(q), words) for q in questions), default=0.0)
    assume(abs(nearest - threshold) > 1e-9)  # where rounding decides
    known = ExistingQuestions(threshold, questions)
    if question in questions:
        assert known.fault(question) == "duplicate"
    else:
        is_near = threshold < 1.0 and nearest >= threshold
        assert known.fault(question) == ("near-duplicate" if is_near else None)
