"""Sets of hashed n-grams: how much two texts have in common, for many pairs at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_ODD = np.uint64(0x9E3779B97F4A7C15)


def mix(values: Hashes) -> Hashes:
    """Return 64-bit hashes of 64-bit values: the finalizer of MurmurHash3, a bijection."""
    mixed: Hashes = values ^ (values >> np.uint64(33))
    mixed = mixed * np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    mixed = mixed * np.uint64(0xC4CEB9FE1A85EC53)
    mixed ^= mixed >> np.uint64(33)
    return mixed


@dataclass(frozen=True, slots=True)
class HashLists:
    """A list of hashes for each text: those of text i are values[offsets[i] : offsets[i + 1]].

    Attributes:
        values: Shape (k,).
        offsets: Shape (n + 1,), from 0 to k.
    """

    values: Hashes
    offsets: Integers

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Integers:
        """Return the number of hashes of each text, shape (n,)."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Integers:
        """Return the index of each hash's text, shape (k,)."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the hashes of each text."""
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            yield self.values[start:stop].tolist()

    def distinct(self) -> HashLists:
        """Return each text's hashes once, ascending."""
        owners = self.owners
        order = np.lexsort((self.values, owners))
        values, owners = self.values[order], owners[order]
        new = np.ones(len(values), np.bool_)
        new[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
        return HashLists(values[new], _offsets(np.bincount(owners[new], minlength=len(self))))

    def take(self, texts: Integers) -> HashLists:
        """Return the lists of some texts, in this order; a text may be asked for twice."""
        sizes = self.sizes[texts]
        offsets = _offsets(sizes)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
        return HashLists(self.values[np.repeat(self.offsets[:-1][texts], sizes) + within], offsets)


def joined(lists: Sequence[HashLists]) -> HashLists:
    """Return the lists of several, one after the other."""
    sizes = np.concatenate([each.sizes for each in lists])
    return HashLists(np.concatenate([each.values for each in lists]), _offsets(sizes))


def _offsets(sizes: Integers) -> Integers:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def ngrams(words: HashLists, n: int, *, whole_if_short: bool) -> HashLists:
    """Return the hashes of each text's n-grams of words, in their order.

    With `whole_if_short` a text of one to n - 1 words is one n-gram; otherwise it has none.
    """
    sizes = np.maximum(words.sizes - n + 1, 0)
    if whole_if_short:
        sizes = np.maximum(sizes, np.minimum(words.sizes, 1))
    offsets = _offsets(sizes)
    ends = np.repeat(words.offsets[1:], sizes)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    places = np.repeat(words.offsets[:-1], sizes) + within
    hashes = np.zeros(len(places), np.uint64)
    for _ in range(n):
        inside = places < ends
        following = words.values[np.minimum(places, len(words.values) - 1)] if len(places) else 0
        hashes = mix(hashes * _ODD + np.where(inside, following, np.uint64(0)))
        places = places + 1
    return HashLists(hashes, offsets)


def num_shared(left: HashLists, i: Integers, right: HashLists, j: Integers) -> Integers:
    """Return |left[i] & right[j]| for pairs of texts, shape (p,). All lists are distinct.

    Hashes of 64 bits stand for (text, n-gram), so a pair is counted wrong with a chance of some
    1e-12 for a million n-grams.
    """
    used = np.unique(i)
    mine = left.take(used)
    table = np.sort(_in_text(mine.values, used[mine.owners]))
    shared = np.zeros(len(i), np.int64)
    if not len(table):
        return shared
    for some in chunks(right.sizes[j]):
        theirs = right.take(j[some])
        pair = theirs.owners
        wanted = _in_text(theirs.values, i[some][pair])
        found = table[np.minimum(np.searchsorted(table, wanted), len(table) - 1)] == wanted
        shared[some] = np.bincount(pair[found], minlength=some.stop - some.start)
    return shared


def _in_text(values: Hashes, texts: Integers) -> Hashes:
    return mix(values + texts.astype(np.uint64) * _ODD)


MOST_HELD = 2_000_000
"""n-grams of pairs that are held at once: some 50 MB."""


def chunks(sizes: Integers) -> Iterator[slice]:
    """Cut pairs into slices with about `MOST_HELD` n-grams, or of one pair."""
    number = (np.cumsum(sizes) - sizes) // MOST_HELD
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(sizes)]
    return (slice(start, stop) for start, stop in pairwise(bounds) if stop > start)


def jaccard(left: HashLists, i: Integers, right: HashLists, j: Integers) -> npt.NDArray[np.float64]:
    """Return |A & B| / |A | B| for pairs of texts, shape (p,); 0 where both are empty."""
    shared = num_shared(left, i, right, j)
    union = left.sizes[i] + right.sizes[j] - shared
    shares: npt.NDArray[np.float64] = shared / np.maximum(union, 1)
    return shares


NUM_PERMUTATIONS = 128
RECALL = 0.99


def band_shape(threshold: float) -> tuple[int, int]:
    """Return (bands b, rows r) of locality-sensitive hashing.

    Two texts of Jaccard similarity s share a band with probability 1 - (1 - s^r)^b. The shape has
    the largest r with which so many bands as at most `NUM_PERMUTATIONS` hashes allow find `RECALL`
    of the pairs at the threshold; further from it they find more. (Leskovec, Rajaraman and Ullman,
    Mining of Massive Datasets, section 3.4.)
    """
    if threshold >= 1.0:
        return 1, NUM_PERMUTATIONS
    shapes = []
    for rows in range(1, NUM_PERMUTATIONS + 1):
        bands = math.ceil(math.log(1 - RECALL) / math.log1p(-(threshold**rows)))
        if bands * rows <= NUM_PERMUTATIONS:
            shapes.append((bands, rows))
    return shapes[-1]


def band_keys(signatures: Hashes, bands: int, rows: int) -> Hashes:
    """Return a hash of each band of MinHash signatures, shape (n, b); bands have own keys.

    `signatures` has shape (n, b * r).
    """
    keys = np.tile(mix(np.arange(1, bands + 1, dtype=np.uint64)), (len(signatures), 1))
    for row in range(rows):
        keys = mix(keys * _ODD + signatures[:, row::rows][:, :bands])
    return keys
