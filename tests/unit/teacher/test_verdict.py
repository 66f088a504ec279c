"""Verdicts: read as a person would, and never a score that was not said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.teacher.verdict import read_verdict, verdict_schema

SCALE = (1, 5)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"reason": "Good.", "score": 4}', 4),
        ('```json\n{"reason": "Good.", "score": 4}\n```', 4),
        ('My verdict: {"reason": "It has {braces}.", "score": "4/5"} That is all.', 4),
        ('{"reason": "He said "no".", "score": 2}', 2),
        ("{'reason': 'Good.', 'score': 4,}", 4),
        ('{"reason": "So-so.", "score": 3.5}', 3.5),
        ('{"score": 4.0}', 4),
        ("It is fine.\n**Score:** 4/5", 4),
        ("Score: 2\nNo, better.\nScore: 3", 3),
        ('{"reason": "Good.", "score": 6}', None),
        ('{"reason": "Good.", "score": 0}', None),
        ('{"reason": "Good.", "score": true}', None),
        ('{"reason": "Good.", "score": NaN}', None),
        ('{"reason": "Good.", "score": null}', None),
        ('{"reason": "Good.", "score": "4/10"}', None),
        ('{"reason": "Good."}', None),
        ('[{"reason": "Good."}]', None),
        ("The score is somewhere from 3 to 5.", None),
        ("Score: 4/10", None),
        ("", None),
        ("{" * 2000, None),
    ],
)
def test_scores_are_read(text: str, score: float | None) -> None:
    found = read_verdict(text, SCALE)
    assert (found and found.value) == score


def test_a_verdict_that_was_cut_off_counts_only_as_a_whole() -> None:
    assert read_verdict('{"reason": "Good.", "score": 1', (1, 10)) is not None
    assert read_verdict('{"reason": "Good.", "score": 1', (1, 10), cut=True) is None
    assert read_verdict("Score: 1", (1, 10), cut=True) is None
    whole = read_verdict('{"reason": "Good.", "score": 10} And', (1, 10), cut=True)
    assert whole is not None
    assert whole.value == 10


@given(st.text(), st.booleans())
def test_no_text_raises_and_no_score_leaves_the_scale(text: str, cut: bool) -> None:
    found = read_verdict(text, SCALE, cut=cut)
    assert found is None or 1 <= found.value <= 5


@given(st.text(), st.integers(-3, 9))
def test_what_follows_the_schema_is_read_as_it_is(reason: str, value: int) -> None:
    found = read_verdict(json.dumps({"reason": reason, "score": value}), SCALE)
    if 1 <= value <= 5:
        assert found is not None
        assert (found.value, found.reason) == (value, reason)
    else:
        assert found is None


def test_the_schema_names_each_score_after_its_reason() -> None:
    schema = json.loads(verdict_schema((0, 3)))
    assert list(schema["properties"]) == ["reason", "score"]
    assert schema["properties"]["score"]["enum"] == [0, 1, 2, 3]
