"""The seeded split: sizes, and the merge of what the parts give."""

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.split import CANDIDATES, CandidateMerge, Candidates, EvaluationSet, split_sizes


@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 10_000), max_size=8),
    st.floats(0.001, 0.999),
    st.integers(1, 500),
)
def test_sizes_leave_a_row_to_train_on(counts: dict[str, int], fraction: float, most: int) -> None:
    sizes = split_sizes(counts, fraction, most)
    assert set(sizes) == set(counts)
    for domain, num_rows in counts.items():
        assert 0 <= sizes[domain] < num_rows
        assert sizes[domain] <= most
        assert sizes[domain] >= 1 or num_rows == 1
        wanted = np.clip(fraction * num_rows, 1, min(most, num_rows - 1) or 1)
        assert num_rows == 1 or abs(sizes[domain] - wanted) <= 1


def candidates(rows: list[tuple[str, int, float]]) -> Candidates:
    table = [
        {
            "domain": domain,
            "example_id": str(number),
            "position": number,
            "question_key": number,
            "score": score,
        }
        for domain, number, score in rows
    ]
    counts = Counter(domain for domain, _, _ in rows)
    return Candidates(pa.Table.from_pylist(table, schema=CANDIDATES), counts)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1)), max_size=20),
    st.permutations(range(20)),
    st.integers(1, 4),
)
def test_the_merge_is_the_top_of_all(
    scored: list[tuple[str, float]], order: list[int], num_parts: int
) -> None:
    rows = [(domain, number, score) for number, (domain, score) in enumerate(scored)]
    mixed = [rows[i] for i in order if i < len(rows)]
    merge = CandidateMerge(most=3)
    for start in range(num_parts):
        merge.add(candidates(mixed[start::num_parts]))
    for domain in "ab":
        mine = [row for row in rows if row[0] == domain]
        assert merge.counts.get(domain, 0) == len(mine)
        best = sorted(mine, key=lambda row: (-row[2], str(row[1])))[:2]
        chosen = merge.top({domain: 2})
        assert chosen["position"].to_pylist() == [row[1] for row in best]
    everything = EvaluationSet.of(merge.top({"a": 20, "b": 20}))
    assert everything.position.tolist() == list(range(len(rows)))
