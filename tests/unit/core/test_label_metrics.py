"""F1 of labels, and corpora whose domains have different tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.answers import Task, equal, extract
from baldistill.core.label_metrics import label_f1, metrics_of_responses
from baldistill.core.metrics import DomainScore, Metrics

CORPUS = {"a": 80, "b": 15, "c": 5}
OWN = {label: label for label in CORPUS}
ROOT = Path(__file__).parents[3]
R8 = Path(os.environ.get("BALDISTILL_SHARED_DATA", ROOT.parent / "shared" / "data")) / "r8.parquet"


def responses(*rows: tuple[str, str, str | None, float]) -> pa.Table:
    names = ["domain", "answer", "prediction", "score"]
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def measured(table: pa.Table, own: Mapping[str, str], task: Task = "classification") -> Metrics:
    return metrics_of_responses(table, lambda _: task, own, CORPUS, {"a"})


def test_label_f1_by_hand():
    said = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", None), ("c", "nonsense")]
    result = measured(responses(*((g, g, p, float(g == p)) for g, p in said)), OWN)
    assert result.per_domain["a"].score == pytest.approx(2 * 2 / (2 * 2 + 0 + 1))
    assert result.per_domain["b"].score == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert result.per_domain["c"] == DomainScore(0.0, 1)
    assert result.micro == pytest.approx(3 / 6)
    assert result.macro == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert result.head == pytest.approx(0.8)
    assert (result.metric, result.accuracy) == ("f1", result.micro)


LABELS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "c", "z", None])), min_size=1
)


@given(LABELS)
def test_domains_that_are_labels_give_the_same_figures_as_labels(pairs):
    table = responses(*((g, g.upper(), p, float(g == p)) for g, p in pairs))
    result = measured(table, OWN)
    by_label = label_f1([p for _, p in pairs], [g for g, _ in pairs])
    assert result.per_domain == by_label
    scores = [figure.score for figure in by_label.values()]
    assert result.macro == pytest.approx(sum(scores) / len(scores))
    assert result.micro == pytest.approx(sum(g == p for g, p in pairs) / len(pairs))


@given(LABELS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(pairs):
    for label, figure in label_f1([p for _, p in pairs], [g for g, _ in pairs]).items():
        right = sum(g == p == label for g, p in pairs)
        given_, wanted = sum(p == label for _, p in pairs), sum(g == label for g, _ in pairs)
        harmonic = 2 / (given_ / right + wanted / right) if right else 0.0
        assert figure.score == pytest.approx(harmonic)
        assert figure.count == wanted


def test_a_domain_with_several_labels_has_their_mean():
    table = responses(
        ("coins", "yes", "yes", 1.0),
        ("coins", "yes", "no", 0.0),
        ("coins", "no", "no", 1.0),
        ("coins", "no", None, 0.0),
    )
    result = measured(table, {})
    yes, no = 2 * 1 / (2 + 0 + 1), 2 * 1 / (2 + 1 + 1)
    assert result.macro == pytest.approx((yes + no) / 2)
    assert result.micro == result.accuracy == 0.5
    assert result.metric == "f1"


@pytest.mark.parametrize("rows", [1, 3])
def test_few_evaluation_rows_that_agree_do_not_make_a_domain_a_label(rows):
    """Yes/no domains have figures of their own, whichever answers happen to be asked for."""
    table = responses(*[("coins", "yes", "yes", 1.0)] * rows, *[("flips", "yes", "no", 0.0)] * rows)
    result = measured(table, {})
    assert {name: figure.score for name, figure in result.per_domain.items()} == {
        "coins": 1.0,
        "flips": 0.0,
    }


def test_a_domain_whose_label_is_nowhere_gold_has_nothing_right():
    table = responses(("a", "a", "a", 1.0), ("b", "z", "b", 0.0))
    result = measured(table, OWN)
    assert (result.per_domain["a"].score, result.per_domain["b"].score) == (1.0, 0.0)


def test_each_domain_of_a_mixed_corpus_has_its_own_figure():
    table = responses(
        ("earn", "earn", "Earn.", 1.0),
        ("acq", "acq", "earn", 0.0),
        ("sums", "4", "5", 0.0),
        ("sums", "4", "4", 1.0),
        ("films", "the red house", "red boat", 0.5),
    )
    own = {"earn": "earn", "acq": "acq"}
    tasks: dict[str, Task] = {
        "earn": "classification",
        "acq": "classification",
        "sums": "math",
        "films": "qa",
    }
    result = metrics_of_responses(table, tasks.__getitem__, own, CORPUS, {"a"})
    assert {name: figure.score for name, figure in result.per_domain.items()} == pytest.approx(
        {"earn": 2 / 3, "acq": 0.0, "sums": 0.5, "films": 0.5}
    )
    assert result.metric == "mixed"
    assert result.micro == pytest.approx(2.5 / 5)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("math", "accuracy"),
        ("multiple_choice", "accuracy"),
        ("free_text", "accuracy"),
        ("qa", "word_f1"),
        ("classification", "f1"),
    ],
)
def test_the_metric_is_the_tasks(task, metric):
    table = responses(("d", "x", "x", 1.0))
    assert measured(table, {}, task).metric == metric


@pytest.mark.skipif(not R8.exists(), reason=f"{R8} is not there")
def test_news_topics():
    """Real texts: every label is read back as written, and a known set of answers is marked."""
    table = pq.read_table(R8)
    labels = sorted(set(table["domain"].to_pylist()))
    assert len(labels) == 8
    rows = [row for row in table.to_pylist() if row["split"] == "test"]
    marked = []
    for number, row in enumerate(rows):
        said = "earn" if number % 2 else row["answer"]
        text = f"The text is about {row['question'][:60]}.\nAnswer: {said.title()}"
        prediction = extract("classification", text, labels)
        assert prediction == said
        right = equal("classification", prediction, row["answer"])
        marked.append((row["domain"], row["answer"], prediction, float(right)))
    result = measured(responses(*marked), {label: label for label in labels})
    assert list(result.per_domain) == labels
    assert result.per_domain["earn"].count == 1083
    others = [name for name in labels if name != "earn"]
    # half of the other labels' decisions are right and nothing is wrongly given to them
    assert all(0.3 < result.per_domain[name].score < 0.9 for name in others)
    assert result.macro == pytest.approx(
        sum(figure.score for figure in result.per_domain.values()) / 8
    )
    assert result.micro == pytest.approx(sum(row[3] for row in marked) / len(marked))


def test_a_further_acceptable_label_counts_as_the_gold_one() -> None:
    rows = [("d", "a", "b", 1.0), ("d", "a", "a", 1.0), ("d", "b", "a", 0.0)]
    table = responses(*rows)
    further = pa.array([["b", "c"], None, ["c"]], pa.list_(pa.string()))
    both = table.append_column("alternatives", further)
    assert measured(table, {}).macro < measured(both, {}).macro
    same = responses(("d", "b", "b", 1.0), *rows[1:])
    assert measured(both, {}) == measured(same, {})
