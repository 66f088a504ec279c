"""Diversity: equal to scikit-learn, and to the published algorithms written out naively."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from baldistill.core import diversity
from baldistill.core.diversity import (
    Embedded,
    badge,
    by_cluster,
    by_contrast,
    contrast,
    k_center_greedy,
    k_means_pp,
    lloyd,
    surprisal_vectors,
)

Floats = npt.NDArray[np.floating]


def points(seed: int, number: int, size: int = 5) -> Floats:
    generator = np.random.default_rng(seed)
    centres = generator.normal(0, 4, (3, size))
    return centres[generator.integers(0, 3, number)] + generator.normal(0, 1, (number, size))


def softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("seed", range(4))
def test_k_means_ends_where_scikit_learns_does(seed: int) -> None:
    some = points(seed, 60)
    centres, own = lloyd(some, some[:6])
    theirs = KMeans(6, init=some[:6], n_init=1, tol=0.0, algorithm="lloyd").fit(some)
    assert own.tolist() == theirs.labels_.tolist()
    np.testing.assert_allclose(centres, theirs.cluster_centers_)


def test_the_member_nearest_to_each_centre_is_chosen() -> None:
    # two groups far apart: 0 and 100; the middle of each is nearest to its mean
    some = np.array([[99.0], [1.0], [100.1], [0.1], [101.0], [-1.0]])
    assert by_cluster(some, 2, seed=0) == [2, 3]


def test_equal_points_still_fill_the_quota() -> None:
    same = np.ones((7, 3))
    assert sorted(by_cluster(same, 4, seed=1)) == [0, 1, 2, 3]
    assert k_center_greedy(same, 4, same[:0]) == [0, 1, 2, 3]
    assert sorted(badge(same, same, 4, seed=1)) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_annotated", [0, 1, 9])
def test_coreset_is_the_greedy_k_center(
    num_annotated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diversity, "_DISTANCES", 100)  # several chunks
    some, annotated = points(1, 40), points(2, num_annotated)
    chosen, covered = [], [*annotated]
    for _ in range(12):
        away = [
            min((float(((one - other) ** 2).sum()) for other in covered), default=np.inf)
            for one in some
        ]
        chosen.append(int(np.argmax(away)))
        covered.append(some[chosen[-1]])
    assert k_center_greedy(some, 12, annotated) == chosen


def published_seeding(gradients: Floats, k: int, generator: np.random.Generator) -> list[int]:
    """BADGE's seeding as its authors run it on rows of gradients, written anew.

    It is `init_centers` of `query_strategies/badge_sampling.py` (JordanAsh/badge, 173a184): the
    longest gradient first, then draws by the squared distance to the nearest that was drawn; what
    was drawn before is drawn anew. A draw is the inverse of the distribution function at a uniform
    number, as in scipy's `rv_discrete`.
    """
    chosen = [max(range(len(gradients)), key=lambda i: float(np.linalg.norm(gradients[i])))]
    while len(chosen) < k:
        away = [min(float(np.linalg.norm(g - gradients[j])) for j in chosen) for g in gradients]
        whole = sum(distance**2 for distance in away)
        new = chosen[0]
        while new in chosen:
            uniform, new, reached = generator.random(), 0, away[0] ** 2 / whole
            while reached < uniform:
                new += 1
                reached += away[new] ** 2 / whole
        chosen.append(new)
    return chosen


@pytest.mark.parametrize("seed", range(6))
def test_badge_chooses_what_the_published_code_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    last, logits = generator.normal(size=(30, 4)), generator.normal(size=(30, 6))
    probabilities = softmax(logits)
    embedded = Embedded(last, last, probabilities, logits.argmax(axis=1))
    # the gradient of -log p(likeliest) by the last layer's weights, shape [candidates, V * h]
    gradients = np.stack(
        [
            np.outer(p - np.eye(6)[p.argmax()], h).ravel()
            for p, h in zip(probabilities, last, strict=True)
        ]
    )
    expected = published_seeding(gradients, 12, np.random.default_rng(seed))
    assert badge(last, embedded.residual(), 12, seed) == expected


def test_k_means_pp_draws_by_the_squared_distance() -> None:
    line = np.array([0.0, 1.0, 2.0, 5.0])
    drawn = [
        k_means_pp(2, lambda one: (line - line[one]) ** 2, np.array([1.0, 0, 0, 0]), seed)[1]
        for seed in range(3000)
    ]
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, np.array([0, 1, 4, 25]) / 30, atol=0.03)


@pytest.mark.parametrize("num_annotated", [3, 25])
def test_cal_is_the_mean_divergence_from_the_nearest_annotated_ones(
    num_annotated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diversity, "_DISTANCES", 100)
    generator = np.random.default_rng(6)
    some, annotated = points(3, 20), points(4, num_annotated)
    ours = softmax(generator.normal(size=(20, 7)))
    theirs = softmax(generator.normal(size=(num_annotated, 7)))
    expected = []
    for x, p in zip(some, ours, strict=True):
        near = sorted(range(num_annotated), key=lambda j: -cosine(annotated[j], x))
        divergences = [(theirs[j] * np.log(theirs[j] / p)).sum() for j in near[:10]]
        expected.append(np.mean(divergences))
    found = contrast(some, ours, annotated, theirs)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    likeliest = ours.argmax(axis=1)
    candidates = Embedded(some, some, ours, likeliest)
    known = Embedded(annotated, annotated, theirs, theirs.argmax(axis=1))
    assert by_contrast(candidates, known, 5) == np.argsort(-np.array(expected))[:5].tolist()


def test_cal_looks_for_neighbours_by_direction() -> None:
    far_alike, near_unlike = np.array([[6.0, 0.0]] * 10), np.array([[0.5, 0.9]] * 10)
    annotated = np.concatenate([far_alike, near_unlike])
    theirs = np.array([[0.5, 0.5]] * 10 + [[0.99, 0.01]] * 10)
    found = contrast(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]), annotated, theirs)
    np.testing.assert_allclose(found, [0.0], atol=1e-9)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_cal_without_annotated_ones_keeps_the_order() -> None:
    some, none = points(3, 6), points(3, 0)
    candidates = Embedded(some, some, softmax(some), np.zeros(6, np.int64))
    known = Embedded(none, none, none, np.zeros(0, np.int64))
    assert by_contrast(candidates, known, 3) == [0, 1, 2]


def test_surprisal_vectors_have_length_one() -> None:
    logprobs = [np.log([0.5, 0.25]), np.array([]), np.full(200, -1.0)]
    vectors = surprisal_vectors(logprobs)
    assert vectors.shape == (3, 128)
    np.testing.assert_allclose(vectors[0, :3], [1 / 5**0.5, 2 / 5**0.5, 0], rtol=1e-6)
    assert not vectors[1].any()
    np.testing.assert_allclose(vectors[2], 128**-0.5, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_alps_chooses_what_the_published_code_does(seed: int) -> None:
    """Surprisals at length 1, k-means, the row nearest to each centre.

    That is `kmeans` of `src/cluster.py` (forest-snow/alps, eda8590), on vectors which its
    `active.py` normalises. The groups lie apart by direction and not by length, so that every
    start of k-means ends at the same centres.
    """
    generator = np.random.default_rng(seed)
    profiles = np.array([[9, 1, 1, 1, 0], [1, 9, 1, 0, 1], [1, 0, 1, 9, 1], [0, 1, 8, 1, 8]])
    surprisals = [
        (profiles[row % 4] + generator.uniform(0, 0.5, 5)) * generator.choice([0.1, 1.0, 30.0])
        for row in range(28)
    ]
    rows = np.array([one / np.sqrt(sum(value**2 for value in one)) for one in surprisals])
    centres = KMeans(4, n_init=10, random_state=seed).fit(rows).cluster_centers_
    expected = [
        min(range(28), key=lambda i: float(((rows[i] - centre) ** 2).sum())) for centre in centres
    ]
    vectors = surprisal_vectors([-one for one in surprisals])
    assert by_cluster(vectors, 4, seed) == sorted(expected)
    assert len({row % 4 for row in expected}) == 4


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 12), size=st.integers(1, 3), seed=st.integers(0, 99), data=st.data())
def test_exactly_as_many_as_wanted_are_chosen_and_again_the_same(
    number: int, size: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, number))
    values = st.lists(st.integers(0, 2), min_size=number * size, max_size=number * size)
    some = np.array(data.draw(values), dtype=np.float32).reshape(number, size)
    for chosen in (
        lambda: by_cluster(some, k, seed),
        lambda: k_center_greedy(some, k, some[:2]),
        lambda: badge(some, some, k, seed),
    ):
        first = chosen()
        assert len(first) == len(set(first)) == k
        assert set(first) <= set(range(number))
        assert chosen() == first
