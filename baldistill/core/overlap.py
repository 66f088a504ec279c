"""Find the text of a reference set that another text holds most of, by n-grams.

A reference may be held by a text only if at least one of its rarest n-grams is in the text (prefix
filtering: Chaudhuri, Ganti and Kaushik, 2006). So what all references have in common, such as an
instruction, costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baldistill.core.ngrams import Hashes, HashLists, Integers, chunks, num_shared


@dataclass(frozen=True, slots=True)
class References:
    """A reference set.

    Attributes:
        ngrams: Of each reference, distinct.
        threshold: Share of its n-grams from which on a text holds a reference.
        rare: n-grams of which a text has one at least if it holds the reference, ascending.
        owner: The reference of each of them.
    """

    ngrams: HashLists
    threshold: float
    rare: Hashes
    owner: Integers

    @classmethod
    def of(cls, ngrams: HashLists, threshold: float) -> References:
        """Index references; those without n-grams are never found."""
        owners, sizes = ngrams.owners, ngrams.sizes
        _, inverse, counts = np.unique(ngrams.values, return_inverse=True, return_counts=True)
        order = np.lexsort((ngrams.values, counts[inverse], owners))
        rank = np.arange(len(order)) - ngrams.offsets[:-1][owners]  # owners ascend in `order`, too
        rare = order[rank <= (sizes - _least(sizes, threshold))[owners]]
        rare = rare[np.argsort(ngrams.values[rare], kind="stable")]
        return cls(ngrams, threshold, ngrams.values[rare], owners[rare])


def _least(sizes: Integers, threshold: float) -> Integers:
    """Return how many of its n-grams a text needs to hold a reference."""
    least: Integers = np.maximum(np.ceil(sizes * threshold - 1e-9), 1).astype(np.int64)
    return least


def most_held(references: References, texts: HashLists) -> tuple[Integers, npt.NDArray[np.float64]]:
    """Return for each text the reference that it holds most of, or -1, and the share.

    Of several with the same share it is the first. The lists of `texts` are distinct.
    """
    best = np.full(len(texts), -1, np.int64)
    share = np.zeros(len(texts))
    least = _least(references.ngrams.sizes, references.threshold)
    for text, reference in _candidates(references, texts):
        shared = num_shared(texts, text, references.ngrams, reference)
        held = shared >= least[reference]
        text, reference = text[held], reference[held]
        shares = shared[held] / references.ngrams.sizes[reference]
        order = np.lexsort((-reference, shares, text))  # the last of each text is its best
        text, reference, shares = text[order], reference[order], shares[order]
        last = np.ones(len(text), np.bool_)
        last[:-1] = text[1:] != text[:-1]
        text, reference, shares = text[last], reference[last], shares[last]
        better = (shares > share[text]) | ((shares == share[text]) & (reference < best[text]))
        best[text[better]], share[text[better]] = reference[better], shares[better]
    return best, share


def _candidates(references: References, texts: HashLists) -> Iterator[tuple[Integers, Integers]]:
    """Yield pairs of a text and a reference, each once in a yield, that share a rare n-gram."""
    start = np.searchsorted(references.rare, texts.values)
    sizes = np.searchsorted(references.rare, texts.values, side="right") - start
    owners, found = texts.owners, np.flatnonzero(sizes)
    for part in chunks(sizes[found]):
        some = found[part]
        number = sizes[some]
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        reference = references.owner[np.repeat(start[some], number) + within]
        text = np.repeat(owners[some], number)
        yield np.divmod(
            np.unique(text * len(references.ngrams) + reference), len(references.ngrams)
        )
