"""Which questions are known, so that a new one can be told from a copy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Set

from rapidfuzz import process
from rapidfuzz.distance import Indel

_WORD = re.compile(r"\w+|[^\w\s]")


class KnownQuestions:
    """The questions of one domain: its pool, its evaluation set, and what was written for it.

    Two questions are near-duplicates when their sequences of words (numbers and marks are words)
    have at least the given normalised Indel similarity, 2 |LCS| / (|a| + |b|): at 0.95 they
    differ in fewer than one word of twenty. Numbers count like words, so that two sums with
    other terms are two questions.

    A tail domain has fewer real examples than its quota, so this is as large as the budget at
    most. One check costs a comparison with each known question in C++: 10,000 in some 10 ms.
    """

    def __init__(
        self,
        threshold: float,
        questions: Iterable[str] = (),
        elsewhere: Set[tuple[str, ...]] = frozenset(),
    ) -> None:
        """Start with some questions.

        Args:
            threshold: Similarity in (0, 1] from which two questions are near-duplicates.
            questions: What is known already.
            elsewhere: `words_of` questions of other domains that must not be repeated; shared by
                all domains.
        """
        self._elsewhere = elsewhere
        self._threshold = threshold
        self._exact: set[tuple[str, ...]] = set()
        self._words: list[tuple[str, ...]] = []
        for question in questions:
            self.add(question)

    def add(self, question: str) -> None:
        """Make a question known."""
        words = words_of(question)
        if words not in self._exact:
            self._exact.add(words)
            self._words.append(words)

    def fault(self, question: str) -> str | None:
        """`duplicate` or `near-duplicate` of a known question; None for a new one."""
        words = words_of(question)
        if words in self._exact or words in self._elsewhere:
            return "duplicate"
        if self._threshold == 1.0:
            return None
        nearest = process.extractOne(
            words,
            self._words,
            scorer=Indel.normalized_similarity,
            processor=None,
            score_cutoff=self._threshold,
        )
        return "near-duplicate" if nearest is not None else None


def words_of(question: str) -> tuple[str, ...]:
    """Words, numbers and marks of a question, whatever its case and spacing."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", question).casefold()))
