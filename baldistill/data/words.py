"""Cut texts into words, and hash the words: alike on every machine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.core.ngrams import Hashes, HashLists, joined, mix
from baldistill.data.text import keys

_OTHER = r"[^\pL\pN\pM_\s\pZ\pC]"
_ALONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Letters of scripts that put no spaces between words: each is a word."""


MOST_BYTES = 1 << 28
"""Of the texts that are cut at once: their words take some times as much, and an Arrow array holds
2 GiB of text."""


def hash_words(texts: pa.Array, *, marks: bool) -> tuple[HashLists, Hashes]:
    """Return the hashes of each text's words, and a hash of its numbers.

    Case, spacing and the spelling of characters (NFKC) do not count. With `marks`, a mark such as
    `+` is a word; otherwise marks only separate words. The numbers of a text, in their order, are
    the words that hold a digit.
    """
    if texts.nbytes > MOST_BYTES and len(texts) > 1:
        halves = [texts[: len(texts) // 2], texts[len(texts) // 2 :]]
        both = [hash_words(half, marks=marks) for half in halves]
        return joined([words for words, _ in both]), np.concatenate([n for _, n in both])
    if not pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.utf8_normalize(texts, form="NFKC")
        texts = pc.replace_substring_regex(texts, f"({_ALONE})", r" \1 ")
    texts = pc.utf8_lower(texts)
    texts = pc.replace_substring_regex(texts, f"({_OTHER})", r" \1 " if marks else " ")
    texts = pc.replace_substring_regex(texts, r"[\s\pZ\pC]+", " ")
    lists = pc.split_pattern(pc.ascii_trim(texts, " "), " ")
    encoded = lists.flatten().dictionary_encode()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    codes = encoded.indices.to_numpy()
    known = encoded.dictionary
    hashes = keys(known.to_pylist(), "word")
    has_digit = pc.match_substring_regex(known, r"\pN").to_numpy(zero_copy_only=False)
    found = HashLists(hashes[codes], offsets - offsets[0])
    return found, _numbers(found, has_digit[codes])


def _numbers(words: HashLists, is_number: np.ndarray) -> Hashes:
    """Return a hash of each text's numbers in their order, shape (n,)."""
    owners = words.owners[is_number]
    place = np.arange(len(owners)) - np.searchsorted(owners, owners)
    terms = mix(words.values[is_number] + mix(place.astype(np.uint64) + np.uint64(1)))
    total = np.zeros(len(words), np.uint64)
    np.add.at(total, owners, terms)
    return mix(total)
