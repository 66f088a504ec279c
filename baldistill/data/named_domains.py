"""Domains that the user names: the teacher sorts a sample, a classifier learns to sort the rest.

The classifier is a logistic regression over TF-IDF, on the words that clusters are made of
(`clusters.py`). Domains are not weighted by their size: one question that the teacher sorted
wrongly into a domain of its own would then draw many others there. The TF-IDF of a word comes from
all questions that were looked at, and not from those alone that the teacher sorted. These keep the
domain that the teacher said.

How far the classifier can be trusted is measured by cross-validation: each fifth of the sorted
questions is told by a classifier of the other four.

The fitted model is a few arrays. Each row is computed for itself, in a fixed order, so a domain
does not depend on the rows around it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from baldistill.data.clusters import (
    MAX_WORDS,
    Floats,
    Whole,
    as_bytes,
    as_texts,
    known_vectorizer,
    one_thread,
    vectorizer,
)
from baldistill.errors import DataError
from baldistill.storage import Storage

Namer: TypeAlias = Callable[[Sequence[str]], list[str | None]]
"""Returns the name of the domain of each question; None where the teacher named none."""
Keys: TypeAlias = npt.NDArray[np.uint64]

_FOLDS = 5
_TRUSTED = 0.8  # held-out agreement below which a warning says what to do
_MOST_STEPS = 1000  # of the regression's solver
# Inverse of the regularisation: 100 follows wrong answers of the teacher, 3 misses small domains
_STRENGTH = 10.0


@dataclass(frozen=True)
class Agreement:
    """Agreement of classifier and teacher on questions that the classifier did not see.

    Attributes:
        names: Of the domains, as the user gave them.
        pairs: Questions by the teacher's domain (rows) and the classifier's (columns).
        unread: Questions for which the teacher named no domain; they are left out.
    """

    names: tuple[str, ...]
    pairs: Whole
    unread: int

    @property
    def count(self) -> int:
        """Return the number of questions that the teacher sorted."""
        return int(self.pairs.sum())

    @property
    def accuracy(self) -> float:
        """Return the share of them that the classifier sorts alike."""
        return float(self.pairs.trace() / self.count)

    def per_domain(self) -> list[dict[str, Any]]:
        """Return for each domain the teacher's count, how many were found, and the classifier's."""
        figures = zip(
            self.names,
            self.pairs.sum(axis=1).tolist(),
            self.pairs.diagonal().tolist(),
            self.pairs.sum(axis=0).tolist(),
            strict=True,
        )
        return [
            {"name": name, "teacher": told, "found": found, "classifier": guessed}
            for name, told, found, guessed in figures
        ]

    def warnings(self) -> list[str]:
        """Say what is doubtful, and what to do."""
        found = []
        missing = [one["name"] for one in self.per_domain() if not one["teacher"]]
        if missing:
            listed = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            found.append(
                f"the teacher found no question of {listed} among {self.count:,} (data.domains): "
                "no row is of such a domain. To do: raise data.domains.sample, describe the name, "
                "or leave it out"
            )
        if self.unread:
            found.append(
                f"the teacher named none of data.domains.names for {self.unread:,} of "
                f"{self.count + self.unread:,} questions, which the classifier did not learn from"
            )
        if self.accuracy < _TRUSTED:
            found.append(
                f"the classifier of data.domains agrees with the teacher about {self.accuracy:.0%} "
                "of the questions that it did not see: raise data.domains.sample, or join names "
                "whose questions have the same words"
            )
        return found


@dataclass(frozen=True)
class NamedDomains:
    """The teacher's answers and the classifier that decide the domain of a question.

    Attributes:
        agreement: How far to trust the classifier; has the names.
        vocabulary: The words that count.
        idf: Weight of each word.
        weights: Words by domains, float32: what a word says for a domain.
        bias: What speaks for a domain before any word.
        keys: Keys of the questions that the teacher sorted, ascending.
        told: The domain of each of them.
    """

    agreement: Agreement
    vocabulary: tuple[str, ...]
    idf: Floats
    weights: Floats
    bias: Floats
    keys: Keys
    told: Whole

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the domains."""
        return self.agreement.names

    def assign(self, questions: Sequence[str], keys: Keys) -> Whole:
        """Return the domain of each question: the teacher's, where it was asked."""
        guessed: Whole = self._scores(questions).argmax(axis=1)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.told[place], guessed)

    def probability(self, questions: Sequence[str], domains: Sequence[str]) -> Floats:
        """Return how sure the classifier is that each question is of the domain beside it."""
        scores = self._scores(questions)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        number = {name: code for code, name in enumerate(self.names)}
        own: Floats = scores[np.arange(len(scores)), [number[name] for name in domains]]
        sure: Floats = own / scores.sum(axis=1)
        return sure

    def _scores(self, questions: Sequence[str]) -> Floats:
        scores: Floats = self._tfidf.transform(questions) @ self.weights + self.bias
        return scores

    @cached_property
    def _tfidf(self) -> Any:
        return known_vectorizer(self.vocabulary, self.idf)

    def save(self, storage: Storage, name: str) -> None:
        """Write the model as a file of plain arrays (npz)."""
        data = io.BytesIO()
        np.savez_compressed(
            data,
            names=as_bytes(self.names),
            pairs=self.agreement.pairs,
            unread=np.int64(self.agreement.unread),
            vocabulary=as_bytes(self.vocabulary),
            idf=self.idf,
            weights=self.weights,
            bias=self.bias,
            keys=self.keys,
            told=self.told,
        )
        storage.write_bytes(name, data.getvalue())

    @classmethod
    def load(cls, storage: Storage, name: str) -> NamedDomains:
        """Read what `save` wrote."""
        with np.load(io.BytesIO(storage.read_bytes(name)), allow_pickle=False) as file:
            return cls(
                Agreement(as_texts(file["names"]), file["pairs"], int(file["unread"])),
                as_texts(file["vocabulary"]),
                *(file[array] for array in ("idf", "weights", "bias", "keys", "told")),
            )


def fit_names(
    questions: Sequence[str], keys: Keys, told: Sequence[str | None], names: Sequence[str]
) -> NamedDomains:
    """Learn to sort questions as the teacher did.

    Args:
        questions: Different ones, in an order that the rows decide.
        keys: Of each question.
        told: What the teacher said of the first of them; None where it named no domain.
        names: Of the domains.

    Raises:
        DataError: The teacher named no domain, or only one; or the questions have no words.
        MissingPackageError: scikit-learn is not installed.
    """
    number = {name: code for code, name in enumerate(names)}
    rows = np.array([row for row, name in enumerate(told) if name is not None], np.int64)
    codes = np.array([number[name] for name in told if name is not None], np.int64)
    _check_told(codes, len(told), names)
    with one_thread("names"):
        words = vectorizer(min_df=min(2, len(questions)), max_features=MAX_WORDS)
        try:
            points = words.fit_transform(questions)[rows]
        except ValueError:  # the vocabulary is empty
            raise DataError(
                f"data.domains.names: no word is in two of the {len(questions)} questions that "
                "were looked at, so nothing tells them apart. To do: name a column of domains in "
                "data.columns.domain"
            ) from None
        pairs = np.zeros((len(names), len(names)), np.int64)
        for held_out in _folds(codes):
            weights, bias = _learn(points[~held_out], codes[~held_out], len(names))
            guessed = (points[held_out] @ weights + bias).argmax(axis=1)
            np.add.at(pairs, (codes[held_out], guessed), 1)
        weights, bias = _learn(points, codes, len(names))
    order = np.argsort(keys[rows])
    return NamedDomains(
        Agreement(tuple(names), pairs, len(told) - len(rows)),
        tuple(words.get_feature_names_out().tolist()),
        words.idf_,
        weights,
        bias,
        keys[rows][order],
        codes[order],
    )


def _check_told(codes: Whole, num_asked: int, names: Sequence[str]) -> None:
    found = np.unique(codes)
    if len(found) == 0:
        raise DataError(
            f"the teacher named none of data.domains.names for any of {num_asked:,} questions. To "
            "do: look at its answers with `baldistill ledger`, and ask a model that follows "
            "instructions, or give it more room (teacher.rationale.max_new_tokens)"
        )
    if len(found) == 1:
        raise DataError(
            f"the teacher finds all of {len(codes):,} questions in one domain, "
            f"{names[int(found[0])]!r}, so there is nothing to balance. To do: give data.domains "
            "finer names, or raise data.domains.sample"
        )


def _folds(codes: Whole) -> list[npt.NDArray[np.bool_]]:
    """Deal the questions of each domain out to folds; return which each holds out."""
    fold = np.zeros(len(codes), np.int64)
    dealt = 0
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        fold[rows] = (dealt + np.arange(len(rows))) % _FOLDS
        dealt += len(rows)  # domains of one question go to different folds
    return [fold == number for number in np.unique(fold)]


def _learn(points: Any, codes: Whole, num_names: int) -> tuple[Floats, Floats]:
    """Return weights (words by domains) and biases; a domain without a question is never told."""
    from sklearn.linear_model import LogisticRegression

    weights = np.zeros((points.shape[1], num_names), np.float32)
    bias = np.full(num_names, -np.inf)
    found = np.unique(codes)
    if len(found) == 1:
        bias[found] = 0
        return weights, bias
    model = LogisticRegression(C=_STRENGTH, max_iter=_MOST_STEPS).fit(points, codes)
    learnt, base = model.coef_, model.intercept_
    if len(found) == 2:  # scikit-learn gives the second class alone
        learnt, base = np.concatenate([-learnt, learnt]) / 2, np.array([-base[0], base[0]]) / 2
    weights[:, found] = learnt.T
    bias[found] = base
    return weights, bias
