"""Duplicates: found across partitions, the first by position kept."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.duplicates import first_of_repeated, gather
from baldistill.data.parts import partition_keys

some_keys = st.lists(
    st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.just(2**64 - 1)), max_size=30
)


@given(some_keys, st.sampled_from([1, 2, 8]), st.integers(0, 30))
def test_every_row_but_the_first_of_its_key_is_a_repeat(
    keys: list[int], num_partitions: int, cut: int
) -> None:
    key = np.array(keys, np.uint64)
    position = np.arange(len(keys), dtype=np.int64)[::-1] * 7
    table = pa.table({"key": key, "id_key": key, "position": position})
    parts = [partition_keys(part, num_partitions) for part in (table[:cut], table[cut:])]
    repeated = []
    for batches in zip(*parts, strict=True):
        mine = pa.Table.from_batches(batches)
        repeated.append(first_of_repeated(mine["key"].to_numpy(), mine["position"].to_numpy()))
    found = gather(*reversed(repeated)).originals(key, position)
    for k, p, original in zip(keys, position, found, strict=True):
        first = min(q for other, q in zip(keys, position, strict=True) if other == k)
        assert original == (-1 if first == p else first)


def test_a_row_goes_by_its_id_too() -> None:
    key = np.array([1, 2, 3], np.uint64)
    id_key = np.array([9, 9, 8], np.uint64)
    table = pa.table({"key": key, "id_key": id_key, "position": np.arange(3)})
    (batch,) = partition_keys(table, 1)
    assert sorted(batch["key"].to_pylist()) == [1, 2, 3, 8, 9, 9]
    duplicates = gather(first_of_repeated(batch["key"].to_numpy(), batch["position"].to_numpy()))
    assert duplicates.originals(id_key, np.arange(3)).tolist() == [-1, 0, -1]
    assert gather().originals(key, np.arange(3)).tolist() == [-1, -1, -1]
