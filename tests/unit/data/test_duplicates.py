"""Duplicates are found across parts, groups and partitions; the first row is the original."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data import duplicates
from baldistill.data.duplicates import (
    count_partitions,
    divide_keys,
    group_parts,
    join_repeated,
    repeated_keys,
)
from baldistill.data.staged_part import KEYS, ReadReport, comparison_keys, key_file, open_keys
from baldistill.run_folder.layout import STAGING
from baldistill.storage import Storage

some_keys = st.lists(
    st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.just(2**64 - 1)), max_size=30
)


def staged(storage: Storage, name: str, *batches: pa.RecordBatch) -> str:
    storage.fs.create_dir(storage.path(f"{STAGING}/keys"), recursive=True)
    with open_keys(storage, key_file(name)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return name


@given(some_keys, st.sampled_from([1, 2, 8]), st.integers(0, 30))
def test_every_row_but_the_first_of_its_key_is_a_repeat(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], num_partitions: int, cut: int
) -> None:
    storage = Storage.open(tmp_path_factory.mktemp("keys"))
    key = np.array(keys, np.uint64)
    position = np.arange(len(keys), dtype=np.int64)[::-1] * 7
    batch = pa.record_batch([key, position], schema=KEYS)
    parts = [staged(storage, "a", batch[:cut]), staged(storage, "b", batch[cut:], batch[:0])]
    if num_partitions == 1:
        repeated = [repeated_keys(storage, parts, None)]
    else:
        counts = [divide_keys(storage, [part], num_partitions, f"g-{part}") for part in parts]
        assert sum(counts) == len(keys)
        groups = [f"g-{part}" for part in parts]
        repeated = [repeated_keys(storage, groups, p) for p in range(num_partitions)]
    found = join_repeated(*reversed(repeated)).originals(key, position)
    for k, p, original in zip(keys, position, found, strict=True):
        first = min(q for other, q in zip(keys, position, strict=True) if other == k)
        assert original == (-1 if first == p else first)


def test_rows_with_the_same_id_are_duplicates_too(tmp_path: Path) -> None:
    key = np.array([1, 2, 3], np.uint64)
    id_key = np.array([9, 9, 8], np.uint64)
    batch = comparison_keys(pa.table({"key": key, "id_key": id_key, "position": np.arange(3)}))
    assert sorted(batch["key"].to_pylist()) == [1, 2, 3, 8, 9, 9]
    storage = Storage.open(tmp_path)
    found = join_repeated(repeated_keys(storage, [staged(storage, "a", batch)], None))
    assert found.originals(id_key, np.arange(3)).tolist() == [-1, 0, -1]
    assert join_repeated().originals(key, np.arange(3)).tolist() == [-1, -1, -1]


def test_partitions_and_groups_hold_as_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "KEYS_PER_PARTITION", 100)
    assert [count_partitions(n) for n in (0, 1, 100, 101, 200, 201, 800)] == [1, 1, 1, 2, 2, 4, 8]
    sizes = {"a": 40, "b": 60, "c": 0, "d": 1, "e": 500}
    reports = [ReadReport(name, num_keys=n) for name, n in sizes.items()]
    assert group_parts(reports) == [["a", "b"], ["d"], ["e"]]
