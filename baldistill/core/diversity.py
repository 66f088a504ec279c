"""Choose few candidates that differ, of many that score well: diversity in active learning.

`kmeans`    the nearest candidate to each centre of k-means (Lloyd 1982) on the embeddings
`coreset`   greedy k-center: the candidate farthest from all that is chosen or was annotated before
            (Sener and Savarese 2018)
`badge`     k-means++ on the gradients of the last layer (Ash et al. 2020)
`cal`       the candidates whose prediction differs most from those of their nearest annotated
            neighbours (Margatina et al. 2021)
`alps`      k-means on the surprisal of the tokens of the question (Yuan et al. 2020)

Candidates come best first. Ties go to the better one, and the seed decides every draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Diversity: TypeAlias = Literal["none", "kmeans", "coreset", "badge", "cal", "alps"]
Floats: TypeAlias = npt.NDArray[np.floating]
Whole: TypeAlias = npt.NDArray[np.int64]

NEIGHBOURS = 10
"""Annotated neighbours of a candidate that `cal` compares it with, as in the authors' code."""
SURPRISALS = 128
"""Tokens of a question that `alps` looks at, as in the authors' code."""

_MOST_ROUNDS = 100  # of Lloyd's algorithm
_DISTANCES = 16 * 2**20  # that are in memory at once
_NEVER = 1e-12  # added to probabilities, so that a logarithm is finite


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model's hidden states and next-token probabilities for N prompts.

    Attributes:
        mean: Mean last hidden state of each prompt; shape [N, hidden].
        last: Last hidden state of its last token; shape [N, hidden].
        probabilities: Of the next token; shape [N, num_tokens]. Tokens may share a column.
        likeliest: Column of the likeliest next token; shape [N].
    """

    mean: Floats
    last: Floats
    probabilities: Floats
    likeliest: Whole

    def residual(self) -> Floats:
        """Return the gradient of the loss by the logits, were the likeliest token the label."""
        residual = self.probabilities.copy()
        residual[np.arange(len(residual)), self.likeliest] -= 1.0
        return residual


def k_means(points: Floats, k: int, seed: int) -> tuple[Floats, Whole]:
    """Return centres, and the centre of each point, by Lloyd's algorithm from k-means++.

    A centre that has lost all its points stays where it is.

    Args:
        points: Shape [N, D].
        k: At most N.
        seed: Of the first centres.
    """
    best = np.arange(len(points)) == 0
    first = k_means_pp(k, _distances_to(points), best, seed)
    return lloyd(points, points[first])


def lloyd(points: Floats, centres: Floats) -> tuple[Floats, Whole]:
    """Move centres to the mean of their points until no point changes its centre."""
    own = np.full(len(points), -1, dtype=np.int64)
    for _ in range(_MOST_ROUNDS):
        before, own = own, _nearest(points, centres)
        if np.array_equal(before, own):
            break
        filled, starts, sizes = np.unique(np.sort(own), return_index=True, return_counts=True)
        sums = np.add.reduceat(points[np.argsort(own, kind="stable")], starts)
        centres = centres.copy()
        centres[filled] = sums / sizes[:, None]
    return centres, own


def k_means_pp(
    k: int,
    distances_to: Callable[[int], Floats],
    weights: Floats,
    seed: int,
) -> list[int]:
    """Draw k different points by k-means++: each by its squared distance to those drawn before.

    Args:
        k: At most the number of points.
        distances_to: Returns the squared distances of all points to one of them.
        weights: The first point is the one of the largest weight (BADGE: the longest gradient).
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    drawn: list[int] = []
    nearest = np.full(len(weights), np.inf)
    free = np.ones(len(weights), dtype=bool)
    for _ in range(k):
        if not drawn:
            new = int(np.argmax(weights))
        else:
            chances = np.where(free, nearest, 0.0)
            total = float(chances.sum())
            # where all others equal one that was drawn, the best of them is next
            new = int(np.argmax(free))
            if total > 0.0:
                place = generator.random() * total
                new = int(np.searchsorted(np.cumsum(chances), place, side="right"))
                new = min(new, int(np.flatnonzero(chances)[-1]))
        drawn.append(new)
        free[new] = False
        nearest = np.minimum(nearest, np.maximum(distances_to(new), 0.0))
    return drawn


def by_cluster(points: Floats, k: int, seed: int) -> list[int]:
    """Return the point nearest to each centre of k-means, then the best that are missing to k."""
    if not k:
        return []
    centres, own = k_means(points, k, seed)
    away = ((points - centres[own]) ** 2).sum(axis=1)
    order = np.lexsort((np.arange(len(points)), away, own))
    first = order[np.flatnonzero(np.r_[True, np.diff(own[order]) > 0])]
    return _filled(sorted(first.tolist()), len(points), k)


def k_center_greedy(points: Floats, k: int, annotated: Floats) -> list[int]:
    """Return k points, each the farthest from all before it and from the annotated ones.

    Where nothing was annotated, the first point (the best) is the first.
    """
    nearest = np.full(len(points), np.inf)
    for start in range(0, len(annotated), size := _rows_at_once(len(points))):
        some = _squared(annotated[start : start + size], points)
        nearest = np.minimum(nearest, some.min(axis=0))
    chosen: list[int] = []
    away = _distances_to(points)
    for _ in range(k):
        new = int(np.argmax(nearest))
        chosen.append(new)
        nearest = np.minimum(nearest, np.maximum(away(new), 0.0))
        nearest[chosen] = -1.0
    return chosen


def badge(last: Floats, residual: Floats, k: int, seed: int) -> list[int]:
    """Return k candidates by k-means++ on their gradients, which are never formed.

    The gradient of candidate i by the last layer is the outer product of residual_i and last_i.
    The inner product of two such is the product of the inner products of their factors.
    """
    last, residual = last.astype(np.float64), residual.astype(np.float64)
    norms = _norms(residual) * _norms(last)

    def distances_to(one: int) -> Floats:
        inner = (residual @ residual[one]) * (last @ last[one])
        found: Floats = norms + norms[one] - 2.0 * inner
        return found

    return k_means_pp(k, distances_to, norms, seed)


def contrast(
    points: Floats, probabilities: Floats, annotated: Floats, annotated_probabilities: Floats
) -> Floats:
    """Return how much the prediction of each point differs from its neighbours', as CAL has it.

    It is the mean of KL(neighbour || point) over the nearest annotated points. They are
    the nearest by direction: the authors' code brings all points to length 1.
    """
    scores = np.zeros(len(points))
    points, annotated = _directions(points), _directions(annotated)
    number = min(NEIGHBOURS, len(annotated))
    if not number:
        return scores
    ours = np.log(probabilities.astype(np.float64) + _NEVER)
    theirs = annotated_probabilities.astype(np.float64)
    entropy = (theirs * np.log(theirs + _NEVER)).sum(axis=1)
    for start in range(0, len(points), size := _rows_at_once(len(annotated))):
        away = _squared(points[start : start + size], annotated)
        near = np.argsort(away, axis=1, kind="stable")[:, :number]
        for row, neighbours in enumerate(near, start):
            divergence = entropy[neighbours] - theirs[neighbours] @ ours[row]
            scores[row] = divergence.mean()
    return scores


def by_contrast(embedded: Embedded, annotated: Embedded, k: int) -> list[int]:
    """Return the k candidates of the highest contrast, the highest first."""
    scores = contrast(
        embedded.mean, embedded.probabilities, annotated.mean, annotated.probabilities
    )
    return [int(place) for place in np.argsort(-scores, kind="stable")[:k]]


def surprisal_vectors(logprobs: Sequence[Floats]) -> Floats:
    """Return the surprisal of the first tokens of each text, as vectors of length 1 or 0.

    ALPS masks tokens and takes the loss of a masked language model; a causal one gives the
    surprisal of all tokens in one pass.
    """
    vectors = np.zeros((len(logprobs), SURPRISALS), dtype=np.float32)
    for row, values in enumerate(logprobs):
        some = -np.asarray(values, dtype=np.float32)[:SURPRISALS]
        vectors[row, : len(some)] = np.nan_to_num(some, posinf=0.0, neginf=0.0)
    return _directions(vectors)


def _directions(points: Floats) -> Floats:
    """Return the points at length 1, but for those of length 0."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    found: Floats = np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0)
    return found


def _nearest(points: Floats, centres: Floats) -> Whole:
    own = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), size := _rows_at_once(len(centres))):
        own[start : start + size] = _squared(points[start : start + size], centres).argmin(axis=1)
    return own


def _rows_at_once(others: int) -> int:
    return max(1, _DISTANCES // max(1, others))


def _squared(ones: Floats, others: Floats) -> Floats:
    """Return squared distances; shape [ones, others]."""
    inner = ones @ others.T
    found: Floats = _norms(ones)[:, None] + _norms(others)[None, :] - 2.0 * inner
    return found


def _norms(points: Floats) -> Floats:
    return np.asarray(np.einsum("nd,nd->n", points, points))


def _distances_to(points: Floats) -> Callable[[int], Floats]:
    norms = _norms(points)
    return lambda one: norms + norms[one] - 2.0 * (points @ points[one])


def _filled(chosen: list[int], number: int, k: int) -> list[int]:
    """Add the best that are not chosen until there are k."""
    taken = set(chosen)
    return [*chosen, *[i for i in range(number) if i not in taken][: k - len(chosen)]]
