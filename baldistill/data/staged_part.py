"""Write a part: up to half a million rows that one reading task stages.

`staging/rows/NAME.parquet` holds the valid rows (schema STAGED), `staging/keys/NAME.arrow` their
keys for the search for duplicates, `quarantine/read-NAME.parquet` the bad rows. Each file grows
block by block. The unit fixes the names, so a task that Ray runs again overwrites the files of its
predecessor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from baldistill.data.rows import BadRow, quarantine_table
from baldistill.records import OPTIONAL
from baldistill.run_folder import layout
from baldistill.storage import Storage

KEYS = pa.schema([pa.field("key", pa.uint64()), pa.field("position", pa.int64())])
_NUM_EXAMPLES = 5


@dataclass(slots=True)
class ReadReport:
    """Counts of the rows of a part; `error` says why the user's file could not be read.

    `optional` has the optional columns (`records.OPTIONAL`) of which a row has a value.
    """

    name: str
    num_read: int = 0
    num_valid: int = 0
    num_keys: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    optional: set[str] = field(default_factory=set)
    error: str | None = None


@dataclass(slots=True)
class KeyCount:
    """Numbers of the keys in a key file, and of their n-grams; `name` is that of `key_file`."""

    name: str
    num_keys: int = 0
    num_ngrams: int = 0


class ParquetFiles:
    """Parquet files (zstd) in folders that exist (see `prepare`); the first rows open a file."""

    def __init__(self, storage: Storage) -> None:
        """Open nothing yet."""
        self._storage = storage
        self._open: dict[str, pq.ParquetWriter] = {}

    def write(self, name: str, table: pa.Table) -> None:
        """Add rows to the file of this name."""
        if not len(table):
            return
        if name not in self._open:
            path, fs = self._storage.path(name), self._storage.fs
            self._open[name] = pq.ParquetWriter(
                path, table.schema, filesystem=fs, compression="zstd"
            )
        self._open[name].write_table(table)

    def close(self) -> None:
        """Finish the files."""
        for writer in self._open.values():
            writer.close()


class PartWriter:
    """Writes one part; each file appears with its first row."""

    def __init__(self, storage: Storage, name: str) -> None:
        """Open nothing yet."""
        self.report = ReadReport(name)
        self._storage = storage
        self._tables = ParquetFiles(storage)
        self._keys: ipc.RecordBatchFileWriter | None = None
        self._open = ExitStack()

    def write(self, staged: pa.Table, bad: Sequence[BadRow], file: str) -> None:
        """Add the rows of a block."""
        name, report = self.report.name, self.report
        report.num_read += staged.num_rows + len(bad)
        report.num_valid += staged.num_rows
        report.optional |= {
            name for name in OPTIONAL.names if staged[name].null_count < staged.num_rows
        }
        report.bad.update(item.reason for item in bad)
        room = _NUM_EXAMPLES - len(report.examples)
        report.examples += [
            f"{file}, row {item.row}: {item.reason}: {item.detail}: {item.content[:80]!r}"
            for item in bad[:room]
        ]
        if staged.num_rows:
            keys = comparison_keys(staged)
            if self._keys is None:
                self._keys = self._open.enter_context(open_keys(self._storage, key_file(name)))
            self._keys.write_batch(keys)
            report.num_keys += keys.num_rows
        self._tables.write(f"{layout.STAGING}/rows/{name}.parquet", staged)
        table = quarantine_table([file] * len(bad), bad)
        self._tables.write(f"{layout.QUARANTINE}/read-{name}.parquet", table)

    def close(self) -> ReadReport:
        """Finish the files."""
        self._tables.close()
        self._open.close()
        return self.report


def comparison_keys(staged: pa.Table) -> pa.RecordBatch:
    """Return the keys that rows are compared by (KEYS): of their content and of mapped ids."""
    key, id_key = staged["key"].to_numpy(), staged["id_key"].to_numpy()
    position = staged["position"].to_numpy()
    if not np.array_equal(key, id_key):
        key, position = np.concatenate([key, id_key]), np.concatenate([position, position])
    return pa.record_batch([key, position], schema=KEYS)


def key_file(name: str) -> str:
    """Return the path of the staged keys of a part."""
    return f"{layout.STAGING}/keys/{name}.arrow"


@contextmanager
def open_keys(storage: Storage, file: str) -> Iterator[ipc.RecordBatchFileWriter]:
    """Open an Arrow file for batches of KEYS."""
    with (
        storage.fs.open_output_stream(storage.path(file)) as stream,
        ipc.new_file(stream, KEYS) as writer,
    ):
        yield writer
