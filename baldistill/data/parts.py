"""A part: what one reading task writes of up to half a million rows.

`staging/rows/NAME.parquet` holds the valid rows (schema STAGED), `staging/keys/NAME.arrow` their
keys for the search for duplicates, `quarantine/read-NAME.parquet` the bad ones. Names are fixed
by the unit, so that a task that Ray runs again overwrites what its predecessor left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from baldistill.data.rows import BadRow, quarantine_table
from baldistill.data.validate import STAGED
from baldistill.records import QUARANTINE
from baldistill.storage import Storage

STAGING = "corpus/staging"
KEYS = pa.schema([pa.field("key", pa.uint64()), pa.field("position", pa.int64())])
_NUM_EXAMPLES = 5


@dataclass(slots=True)
class PartReport:
    """What became of the rows of a part; a task that fails on a user's file reports `error`."""

    name: str
    num_read: int = 0
    num_valid: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    error: str | None = None


class PartWriter:
    """Writes one part; the Parquet files appear when the first rows do."""

    def __init__(self, storage: Storage, name: str, num_partitions: int) -> None:
        """Open nothing yet."""
        self.report = PartReport(name)
        self._storage = storage
        self._num_partitions = num_partitions
        self._rows: pq.ParquetWriter | None = None
        self._bad: pq.ParquetWriter | None = None
        self._keys: list[pa.Table] = []

    def write(self, staged: pa.Table, bad: Sequence[BadRow], file: str) -> None:
        """Add the rows of a block."""
        name, report = self.report.name, self.report
        report.num_read += staged.num_rows + len(bad)
        report.num_valid += staged.num_rows
        report.bad = dict(Counter(report.bad) + Counter(item.reason for item in bad))
        room = _NUM_EXAMPLES - len(report.examples)
        report.examples += [
            f"{file}, row {item.row}: {item.reason}: {item.detail}: {item.content[:80]!r}"
            for item in bad[:room]
        ]
        if staged.num_rows:
            if self._rows is None:
                path = f"{STAGING}/rows/{name}.parquet"
                self._rows = open_parquet(self._storage, path, STAGED)
            self._rows.write_table(staged)
            self._keys.append(staged.select(["key", "id_key", "position"]))
        if bad:
            if self._bad is None:
                path = f"quarantine/read-{name}.parquet"
                self._bad = open_parquet(self._storage, path, QUARANTINE)
            self._bad.write_table(quarantine_table([file] * len(bad), bad))

    def close(self) -> PartReport:
        """Finish the files."""
        if self._bad is not None:
            self._bad.close()
        if self._rows is not None:
            self._rows.close()
            self._write_keys(pa.concat_tables(self._keys))
        return self.report

    def _write_keys(self, keys: pa.Table) -> None:
        path = self._storage.path(f"{STAGING}/keys/{self.report.name}.arrow")
        with (
            self._storage.fs.open_output_stream(path) as stream,
            ipc.new_file(stream, KEYS) as writer,
        ):
            for part in partition_keys(keys, self._num_partitions):
                writer.write_batch(part)


def partition_keys(table: pa.Table, num_partitions: int) -> list[pa.RecordBatch]:
    """Divide the key space: the p-th batch (schema KEYS) holds its p-th part, unsorted.

    Args:
        table: key, id_key and position. Where a user's ids are mapped (id_key differs from key)
            a row goes by both.
        num_partitions: A power of two.
    """
    key, id_key = table["key"].to_numpy(), table["id_key"].to_numpy()
    position = table["position"].to_numpy()
    if not np.array_equal(key, id_key):
        key, position = np.concatenate([key, id_key]), np.concatenate([position, position])
    order, bounds = _by_partition(key, num_partitions)
    return [
        pa.record_batch([key[order[a:b]], position[order[a:b]]], schema=KEYS)
        for a, b in pairwise(bounds)
    ]


def _by_partition(
    key: npt.NDArray[np.uint64], num_partitions: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    bits = num_partitions.bit_length() - 1
    assert num_partitions == 1 << bits
    if bits == 0:
        return np.arange(len(key)), np.array([0, len(key)])
    which = (key >> np.uint64(64 - bits)).astype(np.int64)
    order = np.argsort(which, kind="stable")
    sizes = np.bincount(which, minlength=num_partitions)
    return order, np.concatenate([[0], np.cumsum(sizes)])


def open_parquet(storage: Storage, name: str, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet file (zstd) under a storage; its folder must exist (see `prepare`)."""
    return pq.ParquetWriter(storage.path(name), schema, filesystem=storage.fs, compression="zstd")
