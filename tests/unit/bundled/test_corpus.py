"""The generated long-tailed corpus."""

import hashlib
import json
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


DIGESTS = {
    "train": "fbb836d49429790dee8b24cf4bddad50372960ebcbf528649fbb35dde5e946fe",
    "evaluation": "eb7378608677a40c024cbc6b307e579e70f6d728d3a0ba92c2596f7f50548f0f",
}


def test_level_1_is_the_corpus_that_it_always_was() -> None:
    """By the text of every row: figures of earlier versions are of these very questions."""
    for name, table in zip(DIGESTS, make_corpus(), strict=True):
        text = json.dumps(table.to_pylist(), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == DIGESTS[name]


def test_level_2_has_other_and_longer_questions_that_the_same_programs_solve() -> None:
    easy, hard = make_corpus(600, 20), make_corpus(600, 20, level=2)
    assert hard[0].equals(make_corpus(600, 20, level=2)[0])
    for one, other in zip(easy, hard, strict=True):
        assert one["domain"].value_counts().equals(other["domain"].value_counts()) or sorted(
            one["domain"].to_pylist()
        ) == sorted(other["domain"].to_pylist())
        for row in other.to_pylist():
            assert check(row["domain"], row["question"]) == row["answer"]
    questions = [set(table["question"].to_pylist()) for table in (easy[1], hard[1], hard[0])]
    assert len(questions[0] & questions[1]) < 3
    assert not questions[1] & questions[2]
    words = [sum(len(q.split()) for q in some) for some in questions[:2]]
    assert words[1] > words[0]


def test_corpus_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, baldistill.bundled as b; b.make_corpus(12, 1);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'transformers', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
