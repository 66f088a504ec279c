"""Domains where nobody has labelled any: clusters of the questions by their words.

`fit` looks at a sample of questions: TF-IDF, latent semantic analysis (a truncated SVD) and k-means
on the unit sphere into several times as many groups as wanted. Then the groups are merged by the
average cosine distance of their centres. k-means alone would cut a corpus into parts of similar
size, so that it divides the head and hides the tail; merging does not look at sizes.

The fitted model is a few arrays. A question goes to the centre that it is nearest to. Each row is
computed for itself, in a fixed order, so a domain does not depend on the rows around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from baldistill.errors import DataError, MissingPackageError
from baldistill.storage import Storage

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Whole: TypeAlias = npt.NDArray[np.int64]

MAX_CHARS = 2000
"""The beginning of a question that decides its cluster. It bounds the memory of the sample."""

MAX_WORDS = 20_000
"""Words that count, at most: the most frequent ones."""

_NUM_TOPICS = 100  # dimensions of the latent semantic analysis
_GROUPS_PER_CLUSTER = 8
_FEWEST_GROUPS, _MOST_GROUPS = 128, 512
_FAR_APART = 0.75  # average cosine distance from which `auto` keeps groups apart
_MOST_AUTOMATIC = 64
_WORDS_IN_NAME = 3
_MAX_WORD_CHARS = 30
_NUMBER = "0"
# a word; a number; or one character of a script that puts no spaces between words
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+|\d+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; all numbers are the same word."""
    found = _WORD.findall(text[:MAX_CHARS].lower())
    return [_NUMBER if word.isdigit() else word for word in found]


@dataclass(frozen=True)
class ClusterModel:
    """A model that decides the cluster of a question.

    Attributes:
        names: Of the clusters, the largest of the sample first.
        vocabulary: The words that count.
        idf: Weight of each word.
        weights: Words by groups, float32: a question's TF-IDF times this is how near it is to the
            centre of each group.
        cluster: The cluster of each group.
    """

    names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    idf: Floats
    weights: Floats
    cluster: Whole

    def assign(self, questions: Sequence[str]) -> tuple[Whole, Floats]:
        """Return the cluster of each question, and how near (0 to 1) it is to its centre.

        A question without a known word goes to the largest cluster, at nearness 0.
        """
        nearness = self._tfidf.transform(questions) @ self.weights
        group = nearness.argmax(axis=1)
        near: Floats = nearness[np.arange(len(group)), group]
        return np.where(near > 0, self.cluster[group], 0), np.maximum(near, 0)

    @cached_property
    def _tfidf(self) -> Any:
        return known_vectorizer(self.vocabulary, self.idf)

    def save(self, storage: Storage, name: str) -> None:
        """Write the model as a file of plain arrays (npz)."""
        data = io.BytesIO()
        np.savez_compressed(
            data,
            names=as_bytes(self.names),
            vocabulary=as_bytes(self.vocabulary),
            idf=self.idf,
            weights=self.weights,
            cluster=self.cluster,
        )
        storage.write_bytes(name, data.getvalue())

    @classmethod
    def load(cls, storage: Storage, name: str) -> ClusterModel:
        """Read what `save` wrote."""
        with np.load(io.BytesIO(storage.read_bytes(name)), allow_pickle=False) as file:
            return cls(
                as_texts(file["names"]),
                as_texts(file["vocabulary"]),
                file["idf"],
                file["weights"],
                file["cluster"],
            )


def fit(questions: Sequence[str], clusters: int | Literal["auto"], seed: int) -> ClusterModel:
    """Find clusters in a sample of different questions, in an order that the rows decide.

    Raises:
        DataError: The questions have no words in common, or there are fewer than clusters.
        MissingPackageError: scikit-learn is not installed.
    """
    with one_thread("clusters"):
        known = vectorizer(min_df=min(2, len(questions)), max_features=MAX_WORDS)
        try:
            tfidf = known.fit_transform(questions)
        except ValueError:  # the vocabulary is empty
            raise DataError(
                f"data.domains.clusters: no word is in two of the {len(questions)} questions that "
                "were looked at, so they have nothing to be grouped by. To do: name a column of "
                "domains in data.columns.domain"
            ) from None
        basis, points = _project(tfidf, seed)
        centres, cluster = _groups(points, clusters, seed)
        weights = np.asarray(basis @ centres.T, np.float32)
    vocabulary = tuple(known.get_feature_names_out().tolist())
    draft = ClusterModel((), vocabulary, known.idf_, weights, cluster)
    return _named(draft, questions, tfidf)


def one_thread(option: str) -> AbstractContextManager[Any]:
    """Let scikit-learn compute in one thread: the order in which several add up is not fixed.

    Raises:
        MissingPackageError: scikit-learn, which `data.domains` needs for this option, is missing.
    """
    try:
        from threadpoolctl import threadpool_limits  # it comes with scikit-learn
    except ImportError:  # an environment that was made for an earlier version
        raise MissingPackageError(
            f"data.domains.{option} needs scikit-learn: pip install scikit-learn"
        ) from None

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def known_vectorizer(vocabulary: Sequence[str], idf: Floats) -> Any:
    """Return what gives texts the TF-IDF of a fitted model."""
    found = vectorizer(vocabulary=vocabulary)
    found.idf_ = idf
    return found


def vectorizer(**options: Any) -> Any:
    """Return what gives texts their TF-IDF, by `words`."""
    # sklearn takes a second to import, and most runs do not need it
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=words, sublinear_tf=True, dtype=np.float32, **options)


def _project(tfidf: Any, seed: int) -> tuple[Floats, Floats]:
    """Return a basis (words by topics) and the questions in it, at length 1, without empty ones."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    num_rows, num_words = tfidf.shape
    if min(num_rows, num_words) <= _NUM_TOPICS:
        basis = np.eye(num_words)
    else:
        basis = TruncatedSVD(_NUM_TOPICS, random_state=seed).fit(tfidf).components_.T
    points: Floats = tfidf @ basis
    points = points[np.linalg.norm(points, axis=1) > 1e-6]
    return basis, normalize(points)


def _groups(points: Floats, clusters: int | Literal["auto"], seed: int) -> tuple[Floats, Whole]:
    """Return the centres of many small groups, and the cluster that each is merged into."""
    from sklearn.cluster import AgglomerativeClustering, KMeans
    from sklearn.preprocessing import normalize

    different = len(np.unique(points.round(6), axis=0))
    least = 2 if clusters == "auto" else clusters
    if different < least:
        raise DataError(
            f"data.domains.clusters={clusters}: the {len(points)} questions that were looked at "
            f"have {different} different wordings (all numbers count as one word). To do: ask for "
            "fewer clusters, or give more rows"
        )
    most = _FEWEST_GROUPS if clusters == "auto" else clusters * _GROUPS_PER_CLUSTER
    num_groups = min(different, max(_FEWEST_GROUPS, min(most, _MOST_GROUPS)))
    means = KMeans(num_groups, n_init=2, random_state=seed).fit(points).cluster_centers_
    centres: Floats = normalize(means)

    def merged(**options: Any) -> Whole:
        merging = AgglomerativeClustering(metric="cosine", linkage="average", **options)
        found: Whole = merging.fit(centres).labels_
        return found

    if clusters != "auto":
        return centres, merged(n_clusters=clusters)
    labels = merged(n_clusters=None, distance_threshold=_FAR_APART)
    num_found = len(np.unique(labels))
    bounded = max(2, min(num_found, _MOST_AUTOMATIC))
    return centres, labels if bounded == num_found else merged(n_clusters=bounded)


def _named(draft: ClusterModel, questions: Sequence[str], tfidf: Any) -> ClusterModel:
    """Order the clusters by size, leave out empty ones, and name them by their telling words."""
    found, near = draft.assign(questions)
    present, sizes = np.unique(found[near > 0], return_counts=True)
    order = present[np.lexsort((present, -sizes))]
    rank = np.zeros(int(draft.cluster.max()) + 1, np.int64)
    rank[order] = np.arange(len(order))
    empty = ~np.isin(draft.cluster, order)
    means = np.stack([np.asarray(tfidf[(found == c) & (near > 0)].mean(axis=0))[0] for c in order])
    others = (means.sum(axis=0) - means) / max(len(order) - 1, 1)
    names = cluster_names(means - others, draft.vocabulary)
    weights = draft.weights.copy()
    weights[:, empty] = -1  # no question is near the centre of an empty cluster
    return ClusterModel(names, draft.vocabulary, draft.idf, weights, rank[draft.cluster])


def cluster_names(telling: Floats, vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Name each cluster by the words that are most its own; longer where two would be alike."""
    names: list[str] = []
    # long words say more than short ones, which hold sentences together in most languages
    lengths = np.sqrt([len(word) for word in vocabulary])
    for scores in telling * lengths:
        order = np.argsort(-scores, kind="stable")
        own = [
            vocabulary[index][:_MAX_WORD_CHARS]
            for index in order[: 10 * _WORDS_IN_NAME]
            if scores[index] > 0 and vocabulary[index] != _NUMBER
        ]
        tries = [own[:n] for n in range(_WORDS_IN_NAME, len(own) + 1)] or [own or ["numbers"]]
        name = next((n for n in map("-".join, tries) if n not in names), None)
        names.append(name or f"{'-'.join(tries[0])}-{len(names) + 1}")
    return tuple(names)


def as_bytes(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return texts without line ends as an array of bytes, for the file needs no pickle then."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def as_texts(data: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Return what `as_bytes` was given."""
    return tuple(data.tobytes().decode().split("\n"))
