"""n-grams of hashed words: what two texts share is what their sets of n-grams share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.ngrams import (
    NUM_PERMUTATIONS,
    RECALL,
    HashLists,
    band_keys,
    band_shape,
    jaccard,
    ngrams,
    num_shared,
)

texts_of_words = st.lists(st.lists(st.integers(0, 5), max_size=12), min_size=1, max_size=8)


def lists(texts: list[list[int]]) -> HashLists:
    offsets = np.cumsum([0, *map(len, texts)])
    return HashLists(np.array([w for text in texts for w in text], np.uint64), offsets)


def sets_of(texts: list[list[int]], n: int, whole: bool) -> list[set[tuple[int, ...]]]:
    sets = []
    for text in texts:
        grams = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
        sets.append(grams or ({tuple(text)} if whole and text else set()))
    return sets


@given(texts_of_words, st.integers(1, 5), st.booleans())
def test_shared_ngrams_are_those_of_the_sets(texts: list[list[int]], n: int, whole: bool) -> None:
    # words start at 1: a text that is shorter than n is as if filled up with zeros
    found = ngrams(lists([[w + 1 for w in text] for text in texts]), n, whole_if_short=whole)
    found = found.distinct()
    sets = sets_of(texts, n, whole)
    assert found.sizes.tolist() == [len(grams) for grams in sets]
    i, j = (grid.ravel() for grid in np.meshgrid(range(len(texts)), range(len(texts))))
    shared = [len(sets[a] & sets[b]) for a, b in zip(i, j, strict=True)]
    assert num_shared(found, i, found, j).tolist() == shared
    unions = [max(len(sets[a] | sets[b]), 1) for a, b in zip(i, j, strict=True)]
    assert jaccard(found, i, found, j) == pytest.approx(np.divide(shared, unions))


@given(texts_of_words, st.data())
def test_lists_are_taken_in_any_order(texts: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=10))
    taken = lists(texts).take(np.array(chosen, np.int64))
    assert list(taken) == [texts[index] for index in chosen]


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.999, 1.0])
def test_bands_find_almost_all_pairs_at_the_threshold(threshold: float) -> None:
    bands, rows = band_shape(threshold)
    assert bands * rows <= NUM_PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** bands >= RECALL


def test_texts_share_the_bands_in_which_their_signatures_agree() -> None:
    signatures = np.arange(24, dtype=np.uint64).reshape(2, 12)
    signatures[1] = signatures[0]
    signatures[1, 7] += np.uint64(1)  # of the second of four bands of three rows
    keys = band_keys(signatures, 4, 3)
    assert keys.shape == (2, 4)
    assert (keys[0] == keys[1]).sum() == 3
    assert len(np.unique(keys)) == 5
