"""Normalisation and hashes."""

import hashlib
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.text import BLANK, example_ids, keys, normalise, text_of


@given(st.lists(st.text(max_size=12)))
def test_normalise_is_nfc_without_outer_whitespace_and_idempotent(texts: list[str]) -> None:
    once = normalise(pa.array(texts, pa.string()))
    assert normalise(once).equals(once)
    for text, result in zip(texts, once.to_pylist(), strict=True):
        assert unicodedata.is_normalized("NFC", result)
        assert "\r" not in result
        assert result == result.strip(" \t\n\u00a0\u2003")
        if text.isascii() and text.isalnum():
            assert result == text


def test_normalise_unifies_spellings() -> None:
    spelt = pa.array(["Caf\u00e9\nau lait", "  Cafe\u0301\r\nau lait\t", "Caf\u00e9\rau lait"])
    assert len(normalise(spelt).unique()) == 1


def test_blank() -> None:
    texts = ["", " \n", "\x00", "\x01 \x1f", "\u200b", "a", "\x00a", "\u00e9"]
    blank = pc.match_substring_regex(pa.array(texts), BLANK).to_pylist()
    assert blank == [True, True, True, True, True, False, False, False]


def test_ids_are_fixed_for_ever() -> None:
    expected = hashlib.blake2b(b"math\x001+1?", digest_size=16).hexdigest()
    assert example_ids(["math"], ["1+1?"]) == [expected]


def test_ids_tell_domains_and_questions_apart() -> None:
    ids = example_ids(["a", "b", "a", "ab"], ["x", "x", "y", "x"])
    assert len(set(ids)) == 4
    assert all(len(text) == 32 for text in ids)
    assert keys(["x"], "id") != keys(["x"], "content")
    assert len(keys([], "id")) == 0


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (-0.0, "0"), (1e300, str(int(1e300))), (True, "true")]
)
def test_text_of(value: object, text: str) -> None:
    assert text_of(value) == text
