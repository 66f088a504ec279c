"""Tell a new question from a copy of an existing one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from rapidfuzz import process
from rapidfuzz.distance import Indel

_WORD = re.compile(r"\w+|[^\w\s]")


class ExistingQuestions:
    """Questions that a new one must not resemble: a domain's real and its new examples.

    Two questions are near-duplicates when their sequences of words (numbers and marks are words)
    have at least the given normalised Indel similarity, 2 |LCS| / (|a| + |b|): at 0.95 they
    differ in fewer than one word of twenty. Numbers count like words, so that two sums with
    other terms are two questions.

    A tail domain has fewer real examples than its quota, so it has at most as many questions as the
    budget. The evaluation set, which all domains share, is bounded for each domain. One check
    compares, in C++, with each question of similar length: 10,000 take some 10 ms.
    """

    def __init__(
        self,
        threshold: float,
        questions: Iterable[str] = (),
        shared: ExistingQuestions | None = None,
    ) -> None:
        """Start with some questions.

        Args:
            threshold: Similarity in (0, 1] from which two questions are near-duplicates.
            questions: Those of this domain.
            shared: Further questions, which several domains have in common.
        """
        self._shared = shared
        self._threshold = threshold
        self._exact: set[tuple[str, ...]] = set()
        self._by_length: dict[int, list[tuple[str, ...]]] = {}
        for question in questions:
            self.add(question)

    def add(self, question: str) -> None:
        """Add a question."""
        words = words_of(question)
        if words not in self._exact:
            self._exact.add(words)
            self._by_length.setdefault(len(words), []).append(words)

    def fault(self, question: str) -> str | None:
        """Return `duplicate`, `near-duplicate`, or None for a new question."""
        words = words_of(question)
        if words in self._exact:
            return "duplicate"
        if self._threshold < 1.0:
            nearest = process.extractOne(
                words,
                self._of_similar_length(len(words)),
                scorer=Indel.normalized_similarity,
                processor=None,
                score_cutoff=self._threshold,
            )
            if nearest is not None:
                return "near-duplicate"
        return self._shared.fault(question) if self._shared else None

    def _of_similar_length(self, length: int) -> Iterator[tuple[str, ...]]:
        """Yield all questions that can be similar enough: |LCS| is at most the shorter length."""
        for other, questions in self._by_length.items():
            if 2 * min(length, other) >= self._threshold * (length + other) - 1e-9:
                yield from questions


def words_of(question: str) -> tuple[str, ...]:
    """Return the words, numbers and marks of a question, without regard to case and spacing."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", question).casefold()))
