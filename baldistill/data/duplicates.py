"""Find the keys that occur more than once in the whole corpus, and the first row of each.

The search shuffles 16 bytes a row through files. The reading tasks stage the keys of each part. If
one task cannot hold all keys, tasks divide them by key range: a task reads some parts and writes
one file with a batch for each range (`divide_keys`). Then one task for each range reads its batch
of every file and sees all rows with the same key (`repeated_keys`). P partitions of
KEYS_PER_PARTITION keys need P files, so P^2 batches are read: 2,500 for 100 M rows, 0.25 M for a
billion.

Measured on 1 M keys with two CPUs: under a second. Ray Data's `repartition(keys=...)` took 10 s,
and its aggregators need CPUs of their own. The result grows with the number of duplicates and goes
to the writing tasks through the object store; the driver never holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import ray

from baldistill.data.ray_pass import Track, run_tasks, run_tasks_as_refs
from baldistill.data.staged_part import KEYS, KeyCount, ReadReport, key_file, open_keys
from baldistill.storage import Storage

KEYS_PER_PARTITION = 2_000_000
"""32 MB with their positions. A task holds the keys (16 MB), plus 16 MB to sort."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Keys that occur more than once. On a worker the arrays are shared memory.

    Attributes:
        key: Ascending.
        first: Position of the first row with that key.
    """

    key: npt.NDArray[np.uint64]
    first: npt.NDArray[np.int64]

    def originals(
        self, key: npt.NDArray[np.uint64], position: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Return for each row the position of the earlier row that it repeats, or -1."""
        if not len(self.key):
            return np.full(len(key), -1, np.int64)
        place = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        first = self.first[place]
        repeats = (self.key[place] == key) & (first != position)
        return np.where(repeats, first, -1)


def search_keys(
    reports: Sequence[ReadReport | KeyCount], storage: Storage, track: Track, group: str
) -> ray.ObjectRef[Duplicates]:
    """Find the keys that occur more than once in some key files; `group` names what it writes."""
    groups = group_parts(reports)
    num_keys = sum(report.num_keys for report in reports)
    num_partitions = count_partitions(num_keys)
    partitions: list[int | None] = list(range(num_partitions))
    names = [f"{group}-{number:06d}" for number in range(len(groups))]
    if num_partitions == 1:
        partitions, names = [None], [name for group in groups for name in group]
    else:

        def divide(number: int) -> Iterator[int]:
            yield divide_keys(storage, groups[number], num_partitions, names[number])

        assert sum(run_tasks(divide, len(groups), "divide keys", track)) == num_keys

    def search(number: int) -> Iterator[pa.Table]:
        yield repeated_keys(storage, names, partitions[number])

    tables = run_tasks_as_refs(search, num_partitions)
    # DEFAULT lets the task run anywhere; a Ray Tune trial would keep it in its own placement group
    return ray.remote(join_repeated).options(scheduling_strategy="DEFAULT").remote(*tables)


def count_partitions(num_keys: int) -> int:
    """Return the number of partitions for the keys: the smallest power of two that is enough."""
    return 1 << (max(0, num_keys - 1) // KEYS_PER_PARTITION).bit_length()


def group_parts(reports: Sequence[ReadReport | KeyCount]) -> list[list[str]]:
    """Group consecutive parts with about a partition's number of keys; one task divides a group."""
    groups: list[list[str]] = []
    room = 0
    for report in reports:
        if not report.num_keys:
            continue
        if not groups or report.num_keys > room:
            groups.append([])
            room = KEYS_PER_PARTITION
        groups[-1].append(report.name)
        room -= report.num_keys
    return groups


def divide_keys(storage: Storage, parts: Sequence[str], num_partitions: int, name: str) -> int:
    """Write the keys of some parts as one file; its p-th batch holds the p-th range of keys.

    `num_partitions` is a power of two. `name` stands for a part's name in the path.

    Returns:
        The number of keys.
    """
    files = [_read(storage, part, None, KEYS.names) for part in parts]
    key, position = (
        np.concatenate([columns[i] for columns in files]) for i in range(len(KEYS.names))
    )
    del files
    bits = num_partitions.bit_length() - 1
    assert num_partitions == 1 << bits > 1
    which = (key >> np.uint64(64 - bits)).astype(np.int64)
    order = np.argsort(which, kind="stable")
    bounds = [0, *np.cumsum(np.bincount(which, minlength=num_partitions))]
    with open_keys(storage, key_file(name)) as writer:
        for start, stop in pairwise(bounds):
            rows = order[start:stop]
            writer.write_batch(pa.record_batch([key[rows], position[rows]], schema=KEYS))
    return len(key)


def repeated_keys(storage: Storage, names: Sequence[str], partition: int | None) -> pa.Table:
    """Return the keys that occur more than once, with their first position (KEYS).

    The keys are read and sorted without their positions. Positions are read only if keys repeat.
    `names` are files that `divide_keys` wrote, or all parts, if `partition` is None.
    """
    key = np.concatenate(
        [np.empty(0, np.uint64), *(_read(storage, name, partition, ["key"])[0] for name in names)]
    )
    key.sort()
    repeated = np.unique(key[1:][key[1:] == key[:-1]])
    del key
    if not len(repeated):
        return KEYS.empty_table()
    found = []
    for name in names:
        key, position = _read(storage, name, partition, KEYS.names)
        place = np.minimum(np.searchsorted(repeated, key), len(repeated) - 1)
        wanted = repeated[place] == key
        found.append(pa.table([key[wanted], position[wanted]], schema=KEYS))
    firsts = pa.concat_tables(found).group_by("key").aggregate([("position", "min")])
    return firsts.rename_columns(KEYS.names)


def _read(
    storage: Storage, name: str, partition: int | None, columns: Sequence[str]
) -> list[npt.NDArray[np.generic]]:
    """Read columns of staged keys, of one batch or of all."""
    options = ipc.IpcReadOptions(included_fields=[KEYS.names.index(name) for name in columns])
    with storage.fs.open_input_file(storage.path(key_file(name))) as stream:
        file = ipc.open_file(stream, options=options)
        table = (
            file.read_all()
            if partition is None
            else pa.Table.from_batches([file.get_batch(partition)])
        )
    return [table[column].to_numpy() for column in columns]


def join_repeated(*tables: pa.Table) -> Duplicates:
    """Join the repeated keys of all partitions."""
    table = pa.concat_tables([KEYS.empty_table(), *tables]).sort_by("key")
    return Duplicates(table["key"].to_numpy(), table["position"].to_numpy())
