"""Which questions are known, so that a new one can be told from a copy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from rapidfuzz import process
from rapidfuzz.distance import Indel

_WORD = re.compile(r"\w+|[^\w\s]")


class KnownQuestions:
    """Questions that a new one must be unlike: of a domain its pool and what was written for it.

    Two questions are near-duplicates when their sequences of words (numbers and marks are words)
    have at least the given normalised Indel similarity, 2 |LCS| / (|a| + |b|): at 0.95 they
    differ in fewer than one word of twenty. Numbers count like words, so that two sums with
    other terms are two questions.

    A tail domain has fewer real examples than its quota, so they are as many as the budget at
    most; the evaluation set of all domains, which they share, is bounded for each domain. One check
    costs a comparison in C++ with each known question of like length: 10,000 in some 10 ms.
    """

    def __init__(
        self,
        threshold: float,
        questions: Iterable[str] = (),
        shared: KnownQuestions | None = None,
    ) -> None:
        """Start with some questions.

        Args:
            threshold: Similarity in (0, 1] from which two questions are near-duplicates.
            questions: What is known already.
            shared: Further known questions, which several domains have in common.
        """
        self._shared = shared
        self._threshold = threshold
        self._exact: set[tuple[str, ...]] = set()
        self._by_length: dict[int, list[tuple[str, ...]]] = {}
        for question in questions:
            self.add(question)

    def add(self, question: str) -> None:
        """Make a question known."""
        words = words_of(question)
        if words not in self._exact:
            self._exact.add(words)
            self._by_length.setdefault(len(words), []).append(words)

    def fault(self, question: str) -> str | None:
        """`duplicate` or `near-duplicate` of a known question; None for a new one."""
        return self._fault(words_of(question))

    def _fault(self, words: tuple[str, ...]) -> str | None:
        if words in self._exact:
            return "duplicate"
        if self._threshold < 1.0:
            nearest = process.extractOne(
                words,
                self._of_like_length(len(words)),
                scorer=Indel.normalized_similarity,
                processor=None,
                score_cutoff=self._threshold,
            )
            if nearest is not None:
                return "near-duplicate"
        return self._shared._fault(words) if self._shared else None

    def _of_like_length(self, length: int) -> Iterator[tuple[str, ...]]:
        """All that can be similar enough: |LCS| is at most the shorter length."""
        for other, questions in self._by_length.items():
            if 2 * min(length, other) >= self._threshold * (length + other) - 1e-9:
                yield from questions


def words_of(question: str) -> tuple[str, ...]:
    """Words, numbers and marks of a question, whatever its case and spacing."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", question).casefold()))
