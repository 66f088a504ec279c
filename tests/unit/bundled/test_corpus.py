"""The generated long-tailed corpus."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.bundled import DOMAINS, check, make_corpus
from baldistill.bundled.corpus import zipf_sizes


@given(total=st.integers(12, 100_000), num_domains=st.integers(1, 12), alpha=st.floats(0.0, 3.0))
def test_zipf_sizes_sum_and_fall(total: int, num_domains: int, alpha: float) -> None:
    sizes = zipf_sizes(total, num_domains, alpha)
    assert sum(sizes) == total
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) >= 1


def test_zipf_sizes_follow_the_law() -> None:
    sizes = zipf_sizes(4000, 12, 2.0)
    assert sizes[0] / sizes[1] == pytest.approx(4, rel=0.02)
    assert sizes[0] / sizes[4] == pytest.approx(25, rel=0.05)
    assert zipf_sizes(1200, 12, 0.0) == [100] * 12


def test_fewer_examples_than_domains_are_refused() -> None:
    with pytest.raises(ValueError, match="5 examples cannot fill 12 domains"):
        make_corpus(num_train=5)


def test_more_examples_than_a_domain_has_are_refused() -> None:
    with pytest.raises(ValueError, match="no 30000 further questions"):
        make_corpus(num_train=12, num_evaluation_per_domain=30_000)


def test_corpus_is_long_tailed_and_right_and_free_of_duplicates() -> None:
    train, evaluation = make_corpus(num_train=2000, num_evaluation_per_domain=30)
    assert train.num_rows == 2000
    assert train.column_names == ["id", "domain", "question", "answer"]
    assert [n for _, n in Counter(train["domain"].to_pylist()).most_common()] == zipf_sizes(
        2000, len(DOMAINS), 2.0
    )
    assert Counter(evaluation["domain"].to_pylist()) == dict.fromkeys(DOMAINS, 30)
    for column in ("id", "question"):
        values = train[column].to_pylist() + evaluation[column].to_pylist()
        assert len(set(values)) == len(values)
    for row in train.to_pylist() + evaluation.to_pylist():
        assert check(row["domain"], row["question"]) == row["answer"]


def test_corpus_is_the_same_for_the_same_seed_only() -> None:
    first, again, other = (make_corpus(200, 5, seed=seed) for seed in (7, 7, 8))
    assert first[0].equals(again[0])
    assert first[1].equals(again[1])
    assert not first[0].equals(other[0])
    assert not first[1].equals(other[1])


def test_corpus_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, baldistill.bundled as b; b.make_corpus(12, 1);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'transformers', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
