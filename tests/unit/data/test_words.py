"""Words of a text: what does not change its meaning does not change their hashes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.words import hash_words


def words(text: str, *, marks: bool = True) -> list[int]:
    return next(iter(hash_words(pa.array([text]), marks=marks)[0]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is  2+2?", "what is\n2 + 2 ?"),
        ("caf\u00e9 \ufb01ne", "CAFE\u0301 fine"),
        ("a\u00a0b\u2003c", " a b c\t"),
        ("\uff12+\uff12", "2 + 2"),
    ],
)
def test_case_spacing_and_spelling_do_not_count(one: str, other: str) -> None:
    assert words(one) == words(other)
    assert (
        hash_words(pa.array([one]), marks=True)[1] == hash_words(pa.array([other]), marks=True)[1]
    )


def test_marks_are_words_or_separate_them() -> None:
    assert len(words("2+2=x")) == 5
    assert words("2 + 2") != words("2 - 2")
    assert words("2 + 2", marks=False) == words("2 - 2", marks=False) == words("2 2")


def test_scripts_without_spaces_have_words_of_one_letter() -> None:
    assert len(words("今天天气很好")) == 6
    assert len(words("สวัสดี x")) > 2


def test_numbers_count_with_their_order() -> None:
    texts = ["5 of 3 pears", "I have 5, you have 3", "3 of 5 pears", "53 pears", "pears"]
    numbers = hash_words(pa.array(texts), marks=True)[1]
    assert numbers[0] == numbers[1]
    assert len(np.unique(numbers)) == 4


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6), st.booleans())
def test_a_text_has_the_same_words_whatever_stands_beside_it(texts: list[str], marks: bool) -> None:
    lists, numbers = hash_words(pa.array(texts), marks=marks)
    for text, found, number in zip(texts, lists, numbers, strict=True):
        alone, alone_numbers = hash_words(pa.array([text]), marks=marks)
        assert (found, number) == (next(iter(alone)), alone_numbers[0])


def test_many_long_texts_are_cut_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    column = pa.array(["a b 1", "", "c", "d é f 2", "g"])
    lists, numbers = hash_words(column, marks=True)
    monkeypatch.setattr("baldistill.data.words.MOST_BYTES", 12)
    again, same = hash_words(column, marks=True)
    assert (list(again), same.tolist()) == (list(lists), numbers.tolist())


def test_a_slice_and_no_rows() -> None:
    column = pa.array(["a b", "c 1 d", "e"])
    assert next(iter(hash_words(column.slice(1, 1), marks=True)[0])) == words("c 1 d")
    lists, numbers = hash_words(column.slice(0, 0), marks=True)
    assert (len(lists), len(numbers)) == (0, 0)
