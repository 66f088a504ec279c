"""Named domains: the teacher's word stands, the classifier sorts the rest, doubts are said."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.named_domains import NamedDomains, fit_names
from baldistill.errors import DataError
from baldistill.storage import Storage

pytest.importorskip("sklearn", reason="an environment that was made before scikit-learn came in")

NAMES = ("sums", "coins", "returns", "letters")


def corpus() -> list[tuple[str, str]]:
    draw = random.Random(7)
    rows = [("sums", f"How much is {i} plus {i + 3}, item{i % 40}?") for i in range(160)]
    rows += [("letters", f"Take the last letters of item{i % 9} and Amy.") for i in range(40)]
    rows += [("coins", f"A coin shows heads. Amy turns it {i} times.") for i in range(12)]
    draw.shuffle(rows)
    return rows


ROWS = corpus()
TRUE, QUESTIONS = (list(part) for part in zip(*ROWS, strict=True))
KEYS = np.random.default_rng(0).permutation(10**6)[: len(ROWS)].astype(np.uint64)
TOLD: list[str | None] = [*TRUE[:100]]
TOLD[0], TOLD[1] = "returns" if TRUE[0] != "returns" else "sums", None


@pytest.fixture(scope="module")
def model() -> NamedDomains:
    return fit_names(QUESTIONS, KEYS, TOLD, NAMES)


def named(model: NamedDomains, rows: list[int]) -> list[str]:
    codes = model.assign([QUESTIONS[row] for row in rows], KEYS[rows])
    return [model.names[code] for code in codes]


def test_the_rest_is_sorted_as_the_teacher_would(model: NamedDomains) -> None:
    assert named(model, [*range(1, len(ROWS))]) == TRUE[1:]
    assert model.names == NAMES, "in the order of the user"


def test_what_the_teacher_said_stands(model: NamedDomains) -> None:
    assert named(model, [0]) == ["returns"]
    other = model.assign([QUESTIONS[0]], np.array([10**7], np.uint64))
    assert model.names[other[0]] == TRUE[0], "another question of the same words"


def test_agreement_counts_every_sorted_question_once(model: NamedDomains) -> None:
    agreed = model.agreement
    assert (agreed.count, agreed.unread) == (99, 1)
    assert agreed.accuracy == pytest.approx(98 / 99)  # nothing to learn "returns" from
    figures = {one["name"]: one for one in agreed.per_domain()}
    assert figures["returns"] == {"name": "returns", "teacher": 1, "found": 0, "classifier": 0}
    assert sum(one["classifier"] for one in figures.values()) == 99
    assert ["named none of data.domains.names for 1 of 100" in w for w in agreed.warnings()] == [
        True
    ]


def test_a_name_that_the_teacher_never_said_is_given_to_no_row() -> None:
    model = fit_names(QUESTIONS, KEYS, TRUE[:100], NAMES)
    assert "returns" not in named(model, [*range(len(ROWS))])
    (warning,) = model.agreement.warnings()
    assert "found no question of returns among 100 (data.domains)" in warning
    assert "raise data.domains.sample" in warning


def test_a_classifier_that_cannot_tell_is_not_praised() -> None:
    draw = random.Random(3)
    model = fit_names(QUESTIONS, KEYS, [draw.choice(NAMES) for _ in range(100)], NAMES)
    assert model.agreement.accuracy < 0.5
    assert "agrees with the teacher about" in model.agreement.warnings()[-1]


def test_two_domains_are_enough_and_one_is_not() -> None:
    two: list[str | None] = ["sums" if name == "sums" else "coins" for name in TRUE[:100]]
    model = fit_names(QUESTIONS, KEYS, two, NAMES[:2])
    assert named(model, [*range(100, 212)]) == [
        "sums" if name == "sums" else "coins" for name in TRUE[100:]
    ]
    alone: list[str | None] = ["sums"] + ["coins"] * 30
    assert fit_names(QUESTIONS, KEYS, alone, NAMES[:2]).agreement.accuracy == 30 / 31
    with pytest.raises(DataError, match="finds all of 99 questions in one domain, 'coins'"):
        fit_names(QUESTIONS, KEYS, [None] + ["coins"] * 99, NAMES)


def test_the_same_sample_gives_the_same_model(model: NamedDomains, tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    for number, fitted in enumerate((model, fit_names(QUESTIONS, KEYS, TOLD, NAMES))):
        fitted.save(storage, f"{number}.npz")
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()
    loaded = NamedDomains.load(storage, "0.npz")
    np.testing.assert_array_equal(loaded.agreement.pairs, model.agreement.pairs)
    assert (loaded.names, loaded.agreement.unread) == (model.names, 1)
    np.testing.assert_array_equal(loaded.assign(QUESTIONS, KEYS), model.assign(QUESTIONS, KEYS))


@given(st.permutations(range(len(QUESTIONS))), st.integers(1, len(QUESTIONS)))
def test_a_domain_does_not_depend_on_the_rows_around_it(
    model: NamedDomains, order: list[int], size: int
) -> None:
    alone = model.assign(QUESTIONS, KEYS)
    sure = model.probability(QUESTIONS, TRUE)
    for start in range(0, len(order), size):
        block = order[start : start + size]
        asked = [QUESTIONS[row] for row in block]
        np.testing.assert_array_equal(model.assign(asked, KEYS[block]), alone[block])
        found = model.probability(asked, [TRUE[row] for row in block])
        np.testing.assert_array_equal(found, sure[block])
    assert ((sure > 0) & (sure <= 1)).all()


def test_questions_without_common_words_are_refused() -> None:
    with pytest.raises(DataError, match="no word is in two of the 3 questions"):
        fit_names(["alpha", "beta", "gamma"], KEYS[:3], ["sums", "coins", None], NAMES)
