"""Clusters of questions: the same for the same rows, by words, named by them; mistakes are said."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.clusters import ClusterModel, cluster_names, fit, words
from baldistill.errors import DataError
from baldistill.storage import Storage

pytest.importorskip("sklearn", reason="an environment that was made before scikit-learn came in")

NAMES = ["Amy", "Lou", "Tom", "Zoe", "Max", "Leo", "Iris", "Kurt", "Jack", "Greg"]


def corpus(sums: int = 120, letters: int = 20, coins: int = 8) -> list[tuple[str, str]]:
    """Questions with their true topic, a long tail, in a shuffled order."""
    draw = random.Random(7)
    rows = [("sums", f"How much is {draw.randrange(99)} plus {i}?") for i in range(sums)]
    rows += [
        ("letters", f"Take the last letters of {draw.choice(NAMES)} and {draw.choice(NAMES)}{i}.")
        for i in range(letters)
    ]
    rows += [
        ("coins", f"A coin shows heads. {draw.choice(NAMES)} turns the coin {i} times. Which side?")
        for i in range(coins)
    ]
    draw.shuffle(rows)
    return rows


ROWS = corpus()
QUESTIONS = [question for _, question in ROWS]


@pytest.fixture(scope="module")
def model() -> ClusterModel:
    return fit(QUESTIONS, 3, 0)


def test_words_are_in_lower_case_and_all_numbers_are_alike() -> None:
    assert words("Add 12 and 3,5: a_b Größe!") == ["add", "0", "and", "0", "0", "a", "b", "größe"]
    assert words("東京タワー 5") == [*"東京タワ", "ー", "0"]
    assert words(" \n?!") == []


def test_clusters_are_the_topics_however_small(model: ClusterModel) -> None:
    found, near = model.assign(QUESTIONS)
    topic = [topic for topic, _ in ROWS]
    assert len(set(zip(found.tolist(), topic, strict=True))) == len(model.names) == 3
    assert [topic.count(t) for t in ("sums", "letters", "coins")] == np.bincount(found).tolist()
    assert ((near > 0) & (near <= 1.001)).all()
    assert len(set(model.names)) == 3
    assert "plus" in model.names[0].split("-")
    assert "letters" in model.names[1].split("-")
    assert "coin" in model.names[2].split("-")


def test_the_same_sample_and_seed_give_the_same_model(model: ClusterModel, tmp_path: Path) -> None:
    again = fit(QUESTIONS, 3, 0)
    storage = Storage.open(tmp_path)
    for number, fitted in enumerate((model, again)):
        fitted.save(storage, f"{number}.npz")
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()
    loaded = ClusterModel.load(storage, "0.npz")
    assert loaded.names == model.names
    assert loaded.vocabulary == model.vocabulary
    for one, other in zip(loaded.assign(QUESTIONS), model.assign(QUESTIONS), strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.permutations(range(len(QUESTIONS))), st.integers(1, len(QUESTIONS)))
def test_a_domain_does_not_depend_on_the_rows_around_it(
    model: ClusterModel, order: list[int], size: int
) -> None:
    alone_cluster, alone_near = model.assign(QUESTIONS)
    for start in range(0, len(order), size):
        block = order[start : start + size]
        cluster, near = model.assign([QUESTIONS[index] for index in block])
        np.testing.assert_array_equal(cluster, alone_cluster[block])
        np.testing.assert_array_equal(near, alone_near[block])


def test_a_question_without_a_known_word_goes_to_the_largest_cluster(model: ClusterModel) -> None:
    cluster, near = model.assign(["???", "Xylophones!"])
    assert cluster.tolist() == [0, 0]
    assert near.tolist() == [0, 0]


def test_auto_finds_how_many() -> None:
    model = fit(QUESTIONS, "auto", 0)
    assert len(model.names) == 3
    alike = [f"How much is {i} plus 1?" for i in range(30)] + ["How much is 3 minus 1?"] * 2
    assert len(fit(alike, "auto", 0).names) == 2


def test_clusters_of_one_wording_may_be_asked_for_up_to_the_wordings() -> None:
    questions = ["red apple", "red apple 1", "green pear", "green pear 7", "blue plum", "blue plum"]
    assert len(fit(questions, 3, 0).names) == 3
    with pytest.raises(DataError, match=r"clusters=7: the 6 questions .* different wordings"):
        fit(questions, 7, 0)


def test_names_stay_different_where_the_words_do_not_suffice() -> None:
    vocabulary = ("0", "apples", "plums", "pears")
    telling = np.array([[9, 5, 4, 3], [9, 5, 4, 3], [0, 0, 5, 4], [1, 0, 0, 0], [1, 0, 0, 0]])
    assert cluster_names(telling[:, :3], vocabulary[:3])[:2] == ("apples-plums", "apples-plums-2")
    names = cluster_names(telling, vocabulary)
    assert names[0] == "apples-plums-pears"
    assert names[2:4] == ("plums-pears", "numbers")
    assert len(set(names)) == 5


def test_questions_without_common_words_are_refused() -> None:
    with pytest.raises(DataError, match="no word is in two of the 3 questions"):
        fit(["alpha", "beta", "gamma"], 2, 0)


def test_an_empty_cluster_attracts_nothing(model: ClusterModel) -> None:
    weights = model.weights.copy()
    weights[:, model.cluster == 2] = -1
    found, _ = replace(model, weights=weights).assign(QUESTIONS)
    assert 2 not in found
