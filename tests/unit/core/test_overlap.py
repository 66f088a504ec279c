"""A text holds a reference if enough of its n-grams are in the text: as all pairs would say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core import ngrams
from baldistill.core.ngrams import HashLists
from baldistill.core.overlap import References, most_held

sets = st.lists(st.sets(st.integers(0, 12), max_size=8), max_size=10)


def lists(sets: list[set[int]]) -> HashLists:
    values = [value for each in sets for value in sorted(each)]
    return HashLists(np.array(values, np.uint64), np.cumsum([0, *map(len, sets)]))


@given(sets, sets, st.sampled_from([0.05, 0.3, 0.5, 0.75, 1.0]), st.integers(1, 40))
def test_the_reference_that_a_text_holds_most_of(
    references: list[set[int]], texts: list[set[int]], threshold: float, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "MOST_HELD", most)  # however few pairs are held at once
        best, share = most_held(References.of(lists(references), threshold), lists(texts))
    for text, found, part in zip(texts, best, share, strict=True):
        shares = [len(text & r) / len(r) if r else 0.0 for r in references]
        expected = max(shares, default=0.0)
        if expected == 0 or expected < threshold - 1e-9:
            assert (found, part) == (-1, 0)
        else:
            assert found == shares.index(expected)
            assert part == expected


def test_what_all_references_share_is_not_looked_up() -> None:
    common = set(range(100, 110))
    index = References.of(lists([common | {n} for n in range(50)]), 0.95)
    assert not set(index.rare.tolist()) & common
    best, _ = most_held(index, lists([common | {7}, common]))
    assert best.tolist() == [7, -1]
