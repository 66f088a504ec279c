"""A corpus made long-tailed: exact sizes, whatever the order of rows and files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.longtail import zipf_sizes
from baldistill.data.long_tail import count_domains, write_sample
from baldistill.storage import Storage

SIZES = {"a": 4000, "b": 900, "c": 30, "d": 5}


def table() -> pa.Table:
    rows = [(f"{domain}{i}", domain) for domain, size in SIZES.items() for i in range(size)]
    ids, domains = zip(*rows, strict=True)
    return pa.table({"id": list(ids), "domain": list(domains), "extra": range(len(rows))})


def sample(tmp_path: Path, parts: list[pa.Table], sizes: dict[str, int], seed: int) -> pa.Table:
    storage = Storage.open(tmp_path)
    files = []
    for number, part in enumerate(parts):
        storage.write_table(f"in/{number}.parquet", part)
        files.append(storage.path(f"in/{number}.parquet"))
    assert count_domains(storage.fs, files) == SIZES
    write_sample(storage.fs, files, sizes, seed, storage, "out.parquet")
    return pq.read_table(tmp_path / "out.parquet")


def test_sizes_are_exact_and_the_sample_depends_on_the_seed_alone(tmp_path: Path) -> None:
    wanted = {"a": 1000, "b": 900, "c": 7, "missing": 3}
    rows = table()
    first = sample(tmp_path / "1", [rows], wanted, 0)
    counts = {v["values"]: v["counts"] for v in first["domain"].value_counts().to_pylist()}
    assert counts == {"a": 1000, "b": 900, "c": 7}
    assert first.schema.equals(rows.schema)
    turned = rows.take(pa.array(range(len(rows) - 1, -1, -1)))
    again = sample(tmp_path / "2", [turned.slice(0, 3000), turned.slice(3000)], wanted, 0)
    assert set(again["id"].to_pylist()) == set(first["id"].to_pylist())
    other = sample(tmp_path / "3", [rows], wanted, 1)
    assert set(other["id"].to_pylist()) != set(first["id"].to_pylist())
    fewer = sample(tmp_path / "4", [rows], {"a": 10}, 0)
    assert set(fewer["id"].to_pylist()) < set(first["id"].to_pylist())


def test_zipf_by_hand() -> None:
    assert zipf_sizes({"c": 300, "a": 900, "b": 800, "empty": 0}, 2.0) == {
        "a": 900,
        "b": 225,
        "c": 100,
    }
    assert zipf_sizes({"a": 900, "b": 100, "c": 90}, 2.0) == {"a": 900, "b": 100, "c": 90}
    assert zipf_sizes({"a": 8, "b": 8, "c": 8, "d": 8}, 2.0) == {"a": 8, "b": 2, "c": 1, "d": 1}


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 10_000), min_size=1),
    st.floats(0, 4),
)
def test_zipf_keeps_the_largest_and_the_order(counts: dict[str, int], alpha: float) -> None:
    sizes = zipf_sizes(counts, alpha)
    assert sizes.keys() == counts.keys()
    assert all(1 <= sizes[domain] <= counts[domain] for domain in counts)
    assert max(sizes.values()) == max(counts.values())
    by_size = sorted(counts, key=lambda domain: (-counts[domain], domain))
    bounds = [max(counts.values()) / rank**alpha for rank in range(1, len(counts) + 1)]
    assert all(sizes[d] <= max(1, b + 1e-6) for d, b in zip(by_size, bounds, strict=True))
    assert zipf_sizes(counts, 0.0) == dict(sorted(counts.items()))
