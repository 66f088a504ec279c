import math
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.selection import hash_score, merge_top_k, partial_top_k

SCORE = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0, 2.0, math.inf, -math.inf, math.nan, None]),
    st.floats(width=16),
)
ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "é", None]), SCORE), max_size=40).map(
    lambda rows: pa.table(
        {
            "example_id": pa.array([f"id{i:02d}" for i in range(len(rows))], pa.string()),
            "domain": pa.array([domain for domain, _ in rows], pa.string()),
            "score": pa.array([score for _, score in rows], pa.float64()),
        }
    )
)
K = st.dictionaries(st.sampled_from(["a", "b", "c", "é", "unseen"]), st.integers(0, 6))


def by_the_book(table: pa.Table, k: dict[str, int]) -> list[str]:
    """The definition, row by row."""

    def rank(row: dict) -> tuple:
        unscored = row["score"] is None or math.isnan(row["score"])
        return (unscored, 0 if unscored else -row["score"], row["example_id"])

    kept = []
    for domain in sorted(k):
        rows = [row for row in table.to_pylist() if row["domain"] == domain]
        kept += [row["example_id"] for row in sorted(rows, key=rank)[: k[domain]]]
    return kept


@given(ROWS, K)
def test_it_is_the_definition(table, k):
    result = partial_top_k(table, "score", k)
    assert result["example_id"].to_pylist() == by_the_book(table, k)
    assert result.schema == table.schema


@given(ROWS, K, st.integers(0, 40), st.integers(0, 40))
def test_it_is_associative(table, k, one, other):
    low, high = sorted((one, other))
    blocks = [table.slice(0, low), table.slice(low, high - low), table.slice(high)]
    parts = [partial_top_k(block, "score", k) for block in blocks]
    whole = partial_top_k(table, "score", k).to_pylist()
    assert str(merge_top_k(parts, "score", k).to_pylist()) == str(whole)  # str: NaN is not NaN
    left = merge_top_k([merge_top_k(parts[:2], "score", k), parts[2]], "score", k)
    assert str(left.to_pylist()) == str(whole)


@given(ROWS, K, st.randoms())
def test_it_ignores_the_order_of_rows(table, k, random):
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = table.take(pa.array(order, pa.int64()))
    result = partial_top_k(shuffled, "score", k)["example_id"]
    assert result.to_pylist() == partial_top_k(table, "score", k)["example_id"].to_pylist()


def test_unscored_rows_fill_a_quota_last():
    table = pa.table(
        {"example_id": ["z", "y", "x"], "domain": ["a"] * 3, "score": [math.nan, -math.inf, None]}
    )
    assert partial_top_k(table, "score", {"a": 2})["example_id"].to_pylist() == ["y", "x"]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_other_types_of_columns(kind):
    table = pa.table(
        {
            "example_id": pa.array(["x", "y", "z"], kind),
            "domain": pa.chunked_array([pa.array(["a", "b"], kind), pa.array(["a"], kind)]),
            "ifd": pa.array([1, 2, 3], pa.int32()),
        }
    )
    result = partial_top_k(table, "ifd", {"a": 1, "b": 1})
    assert result["example_id"].to_pylist() == ["z", "y"]
    assert result.schema == table.schema


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"no column \['ifd'\]"):
        partial_top_k(pa.table({"example_id": ["x"], "domain": ["a"]}), "ifd", {"a": 1})
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_top_k([], "ifd", {"a": 1})


def test_scores_are_fixed_for_ever():
    ids = ["", "a", "0123456789abcdef", "0123456789abcdef0", "größe", "x" * 100]
    expected = [
        0.4558970808054451,
        0.7227138190859723,
        0.33946339865740427,
        0.005308628190609732,
        0.8182870324496239,
        0.2718340512731854,
    ]
    assert hash_score(7, ids).tolist() == expected
    code = (
        f"from baldistill.core.selection import hash_score; print(hash_score(7, {ids!r}).tolist())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(expected)


@given(st.lists(st.text(max_size=30)), st.integers(-(2**70), 2**70), st.data())
def test_a_score_depends_on_seed_and_id_alone(ids, seed, data):
    scores = hash_score(seed, ids)
    assert scores.shape == (len(ids),)
    assert ((scores >= 0) & (scores < 1)).all()
    for id_, score in zip(ids, scores, strict=True):
        assert hash_score(seed, [id_])[0] == score
    start = data.draw(st.integers(0, len(ids)))
    column = pa.array(ids, pa.string())
    assert hash_score(seed, column.slice(start)).tolist() == scores[start:].tolist()
    chunked = pa.chunked_array([column.slice(0, start), column.slice(start)])
    assert hash_score(seed, chunked).tolist() == scores.tolist()


def test_scores_are_uniform_and_seeds_unrelated():
    ids = [f"{i:016x}" for i in range(50_000)]
    one, other = hash_score(1, ids), hash_score(2, ids)
    assert len(np.unique(one)) == len(ids)
    assert np.histogram(one, bins=20, range=(0, 1))[0] == pytest.approx(2500, rel=0.1)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.02


@pytest.mark.parametrize("ids", [["a", None], [1, 2], np.array([1.5])])
def test_ids_must_be_strings(ids):
    with pytest.raises(ValueError, match="example ids"):
        hash_score(0, ids)
