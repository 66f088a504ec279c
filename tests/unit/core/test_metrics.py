import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.label_metrics import metrics_of_responses
from baldistill.core.longtail import domain_weights
from baldistill.core.metrics import DomainScore, Metrics

CORPUS = {"a": 80, "b": 15, "c": 5}


def measured(domains, scores, counts=CORPUS, head=("a",)) -> Metrics:
    table = pa.table({"domain": pa.array(domains, pa.string()), "score": pa.array(scores)})
    for name in ("answer", "prediction"):  # already marked: neither is read again
        table = table.append_column(name, pa.nulls(len(table), pa.string()))
    return metrics_of_responses(table, lambda _: "math", {}, counts, head)


def test_by_hand():
    domains = ["a", "a", "a", "a", "b", "b", "c"]
    result = measured(domains, [True, True, True, False, True, False, False])
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
    figures = json.loads(json.dumps(measured(["a"], np.array([1.0])).to_dict()))
    keys = ["macro", "micro", "head", "tail", "natural", "worst", "entropy", "dodrans", "metric"]
    keys += ["accuracy", "per_domain"]
    assert list(figures) == keys
    assert figures["tail"] is None
    assert figures["per_domain"] == {"a": {"score": 1.0, "count": 1}}


def test_without_domains_of_the_corpus_there_is_no_head_and_no_natural_figure():
    result = measured(["x", "y"], [0.25, 0.5])
    assert (result.head, result.tail, result.natural) == (None, 0.375, None)
    assert (result.worst, result.entropy, result.dodrans) == (0.25, None, None)
    assert result.macro == result.micro == 0.375


def test_a_domain_that_the_corpus_lacks_is_tail_and_has_no_natural_weight():
    result = measured(["a", "new"], [1, 0])
    assert (result.head, result.tail, result.natural) == (1, 0, 1)


ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), min_size=1, max_size=30)


@given(ROWS, st.randoms())
def test_it_is_the_definition_in_any_order(rows, random):
    domains, scores = zip(*rows, strict=True)
    result = measured(domains, scores)
    means = {
        name: np.mean([score for domain, score in rows if domain == name])
        for name in sorted(set(domains))
    }
    assert {name: d.score for name, d in result.per_domain.items()} == pytest.approx(means)
    assert result.macro == pytest.approx(np.mean(list(means.values())))
    assert result.micro == pytest.approx(np.mean(scores))
    random.shuffle(rows)
    again = measured(*zip(*rows, strict=True))
    assert again.macro == pytest.approx(result.macro)
    assert again.natural == pytest.approx(result.natural)


def test_worst_and_the_weightings_by_hand():
    """Harbecke et al. 2022: entropy -n log(n / N), dodrans n^(3/4), with n_d of the corpus."""
    result = measured(["a", "b", "c"], [0.9, 0.5, 0.2])
    assert result.worst == 0.2
    entropy = -np.array([0.8, 0.15, 0.05]) * np.log([0.8, 0.15, 0.05])
    assert result.entropy == pytest.approx(np.average([0.9, 0.5, 0.2], weights=entropy))
    dodrans = np.array([80, 15, 5]) ** 0.75
    assert result.dodrans == pytest.approx(np.average([0.9, 0.5, 0.2], weights=dodrans))
    assert result.macro < result.dodrans < result.natural
    alone = measured(["a"], [0.9])  # -n log(n / n) is 0
    assert (alone.worst, alone.entropy, alone.dodrans) == (0.9, 0.9, 0.9)


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 10**9), min_size=1))
def test_weights_sum_to_1_and_equal_domains_count_alike(counts):
    for weighting in ("macro", "natural", "entropy", "dodrans"):
        weights = domain_weights(counts, weighting)
        assert sum(weights.values()) == pytest.approx(1)
        assert all(weight >= 0 for weight in weights.values())
        alike = domain_weights(dict.fromkeys(counts, 7), weighting)
        assert list(alike.values()) == pytest.approx([1 / len(counts)] * len(counts))


def test_the_head_is_as_given():
    result = measured(["a", "b", "c"], [1, 0.5, 0], head={"a", "b"})
    assert (result.head, result.tail) == (0.75, 0)


def test_natural_is_micro_when_the_evaluation_set_follows_the_corpus():
    domains = np.repeat(["a", "b", "c"], [80, 15, 5])
    scores = np.random.default_rng(0).random(100)
    result = measured(domains, scores)
    assert result.natural == pytest.approx(result.micro)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: measured([], []), "no evaluation examples"),
        (lambda: measured([None], [1]), "a missing answer is 0"),
        (lambda: measured(["a"], [float("nan")]), "a missing answer is 0"),
        (lambda: measured(["a"], [None]), "a missing answer is 0"),
    ],
)
def test_mistakes_are_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()
