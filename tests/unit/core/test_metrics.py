import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.metrics import DomainScore, metrics_from_scores

CORPUS = {"a": 80, "b": 15, "c": 5}


def test_by_hand():
    domains = ["a", "a", "a", "a", "b", "b", "c"]
    result = metrics_from_scores(domains, [True, True, True, False, True, False, False], CORPUS)
    assert result.per_domain == {
        "a": DomainScore(0.75, 4),
        "b": DomainScore(0.5, 2),
        "c": DomainScore(0.0, 1),
    }
    assert result.macro == pytest.approx((0.75 + 0.5 + 0) / 3)
    assert result.micro == pytest.approx(4 / 7)
    assert result.head == 0.75
    assert result.tail == 0.25
    assert result.natural == pytest.approx(0.8 * 0.75 + 0.15 * 0.5)


def test_json_keys():
    figures = json.loads(json.dumps(metrics_from_scores(["a"], np.array([1.0]), CORPUS).to_dict()))
    keys = ["macro", "micro", "head", "tail", "natural", "metric", "accuracy", "per_domain"]
    assert list(figures) == keys
    assert figures["tail"] is None
    assert figures["per_domain"] == {"a": {"score": 1.0, "count": 1}}


def test_without_a_corpus_there_is_no_head():
    result = metrics_from_scores(["a", "b"], [0.25, 0.5])
    assert (result.head, result.tail, result.natural) == (None, None, None)
    assert result.macro == result.micro == 0.375


def test_a_domain_that_the_corpus_lacks_is_tail_and_has_no_natural_weight():
    result = metrics_from_scores(["a", "new"], [1, 0], CORPUS)
    assert (result.head, result.tail, result.natural) == (1, 0, 1)


ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), min_size=1, max_size=30)


@given(ROWS, st.randoms())
def test_it_is_the_definition_in_any_order_and_any_container(rows, random):
    domains, scores = zip(*rows, strict=True)
    result = metrics_from_scores(list(domains), list(scores), CORPUS)
    means = {
        name: np.mean([score for domain, score in rows if domain == name])
        for name in sorted(set(domains))
    }
    assert {name: d.score for name, d in result.per_domain.items()} == pytest.approx(means)
    assert result.macro == pytest.approx(np.mean(list(means.values())))
    assert result.micro == pytest.approx(np.mean(scores))
    random.shuffle(rows)
    columns = pa.array([r[0] for r in rows]), pa.chunked_array([[r[1] for r in rows]])
    again = metrics_from_scores(*columns, CORPUS)
    assert again.macro == pytest.approx(result.macro)
    assert again.natural == pytest.approx(result.natural)


def test_the_head_may_be_given():
    result = metrics_from_scores(["a", "b", "c"], [1, 0.5, 0], CORPUS, head={"a", "b"})
    assert (result.head, result.tail) == (0.75, 0)
    alone = metrics_from_scores(["a", "b", "c"], [1, 0.5, 0], head={"a", "b"})
    assert (alone.head, alone.tail, alone.natural) == (0.75, 0, None)


def test_natural_is_micro_when_the_evaluation_set_follows_the_corpus():
    domains = np.repeat(["a", "b", "c"], [80, 15, 5])
    scores = np.random.default_rng(0).random(100)
    result = metrics_from_scores(domains, scores, CORPUS)
    assert result.natural == pytest.approx(result.micro)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: metrics_from_scores([], []), "no evaluation examples"),
        (lambda: metrics_from_scores(["a"], [1, 0]), "1 examples but 2"),
        (lambda: metrics_from_scores(["a"], [float("nan")]), "a missing answer is 0"),
        (lambda: metrics_from_scores(["a"], [None]), "a missing answer is 0"),
    ],
)
def test_mistakes_are_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()
