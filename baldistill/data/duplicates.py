"""Duplicates over the whole corpus: which keys occur more than once, and where first.

Every part's keys lie on the storage divided by key range (`parts.partition_keys`), so one task
for each range reads its share of every part and sees all rows with the same key: a shuffle
through files, of 16 bytes a row. Measured on 1 M keys with two CPUs: under a second, where
Ray Data's `repartition(keys=...)` took 10 s and needs CPUs for its aggregators beside the tasks'.
What comes out is as large as the duplicates are many, and goes to the writing tasks through the
object store; the driver never holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc

from baldistill.data.parts import KEYS, STAGING
from baldistill.storage import Storage

ROWS_PER_PARTITION = 4_000_000
"""64 MB of keys in one task."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Keys that occur more than once. Its arrays are shared memory on a worker.

    Attributes:
        key: Ascending.
        first: Position of the first row with that key.
    """

    key: npt.NDArray[np.uint64]
    first: npt.NDArray[np.int64]

    def originals(
        self, key: npt.NDArray[np.uint64], position: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """For each row the position of the earlier row that it repeats, or -1."""
        if not len(self.key):
            return np.full(len(key), -1, np.int64)
        place = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        first = self.first[place]
        repeats = (self.key[place] == key) & (first != position)
        return np.where(repeats, first, -1)


def repeated_keys(storage: Storage, parts: Sequence[str], partition: int) -> pa.Table:
    """The keys of one partition that occur more than once, with their first position (KEYS)."""
    batches: list[pa.RecordBatch] = []
    for name in parts:
        with storage.fs.open_input_file(storage.path(f"{STAGING}/keys/{name}.arrow")) as stream:
            batches.append(ipc.open_file(stream).get_batch(partition))
    table = pa.Table.from_batches(batches, KEYS)
    return first_of_repeated(table["key"].to_numpy(), table["position"].to_numpy())


def first_of_repeated(key: npt.NDArray[np.uint64], position: npt.NDArray[np.int64]) -> pa.Table:
    """Keys that occur more than once and their smallest position (KEYS), ascending by key."""
    order = np.lexsort((position, key))
    key, position = key[order], position[order]
    is_first = np.concatenate([[True], key[1:] != key[:-1]])[: len(key)]
    is_repeated = is_first & np.concatenate([~is_first[1:], [False]])[: len(key)]
    return pa.table([key[is_repeated], position[is_repeated]], schema=KEYS)


def gather(*tables: pa.Table) -> Duplicates:
    """The repeated keys of all partitions."""
    table = pa.concat_tables([KEYS.empty_table(), *tables]).sort_by("key")
    return Duplicates(table["key"].to_numpy(), table["position"].to_numpy())
