"""The passes that look for rows that should not be trained on, by option, before rows are written.

Near duplicates (`near_duplicates.py`) come before the evaluation set is chosen, so that it holds
none, and again after it, for rows to train on that are near a row of it.

What grows with the number of rows is on storage: 16 bytes for each band of a row, some 16 bands.
Keys that repeat go through the object store. The n-grams of rows that others are compared with
(some 8 bytes a word) are held for `FIRSTS_PER_ROUND` rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from baldistill.config import NearDuplicatesConfig
from baldistill.core.ngrams import Hashes, HashLists, Integers, mix
from baldistill.data import near_duplicates as near
from baldistill.data.duplicates import Duplicates, search_keys
from baldistill.data.near_duplicates import Neighbours, Texts
from baldistill.data.ray_pass import Track, run_tasks, run_tasks_as_refs
from baldistill.data.split import EvaluationSet
from baldistill.data.staged_part import KeyCount
from baldistill.storage import Storage

FIRSTS_PER_ROUND = 2_000_000
"""Some 700 MB of n-grams, of questions of 40 words."""

_GATHERED = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("ngrams", pa.list_(pa.uint64()), nullable=False),
        pa.field("bands", pa.list_(pa.uint64())),
    ]
)


def find_near_duplicates(
    rule: NearDuplicatesConfig,
    parts: Sequence[str],
    duplicates: ray.ObjectRef[Duplicates],
    storage: Storage,
    track: Track,
) -> ray.ObjectRef[Neighbours]:
    """Find the rows that are near an earlier one of their domain and role."""

    def sketch(index: int) -> Iterator[KeyCount]:
        yield near.stage_band_keys(storage, parts[index], ray.get(duplicates), rule)

    staged = sorted(
        run_tasks(sketch, len(parts), "sketch questions", track), key=lambda count: count.name
    )
    repeated = search_keys(staged, storage, track, "bands")
    num_firsts = ray.get(_remote(_count_firsts, repeated))
    num_rounds = max(1, -(-num_firsts // FIRSTS_PER_ROUND))
    found: list[ray.ObjectRef[pa.Table]] = []
    for number in range(num_rounds):
        wanted = _remote(_firsts, repeated, number, num_rounds)
        texts = _gather(rule, parts, wanted, storage, bands=False)

        def compare(index: int, texts: Any = texts) -> Iterator[pa.Table]:
            yield from near.compare_part(
                storage, parts[index], ray.get(repeated), ray.get(texts)[0], rule
            )

        found += run_tasks_as_refs(compare, len(parts))
    return _remote(near.resolve, *found)


def find_near_evaluation(
    rule: NearDuplicatesConfig,
    parts: Sequence[str],
    evaluation: ray.ObjectRef[EvaluationSet],
    storage: Storage,
) -> ray.ObjectRef[Neighbours]:
    """Find the rows to train on that are near one of the evaluation set, whatever its domain."""
    gathered = _gather(rule, parts, _remote(_positions, evaluation), storage, bands=True)

    def compare(index: int) -> Iterator[pa.Table]:
        texts, band, owner = ray.get(gathered)
        yield from near.compare_with_evaluation(storage, parts[index], band, owner, texts, rule)

    return _remote(near.nearest, *run_tasks_as_refs(compare, len(parts)))


def _gather(
    rule: NearDuplicatesConfig,
    parts: Sequence[str],
    wanted: ray.ObjectRef[Integers],
    storage: Storage,
    *,
    bands: bool,
) -> Any:
    def read(index: int) -> Iterator[pa.Table]:
        for texts, keys in near.gather(storage, parts[index], ray.get(wanted), rule, bands=bands):
            lists = pa.ListArray.from_arrays(
                pa.array(texts.ngrams.offsets, pa.int32()), pa.array(texts.ngrams.values)
            )
            nothing = pa.nulls(len(lists), pa.list_(pa.uint64()))
            rows = nothing if keys is None else pa.array(keys.tolist(), pa.list_(pa.uint64()))
            yield pa.table([pa.array(texts.position), lists, rows], schema=_GATHERED)

    return _remote(_join, *run_tasks_as_refs(read, len(parts)))


def _join(*tables: pa.Table) -> tuple[Texts, Hashes, Integers]:
    """Return gathered rows, and their band keys, ascending, each with the index of its row."""
    table = pa.concat_tables([_GATHERED.empty_table(), *tables]).sort_by("position")
    lists = pa.concat_arrays([_lists(chunk) for chunk in table["ngrams"].chunks] or [_EMPTY])
    sizes = np.diff(lists.offsets.to_numpy())
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
    texts = Texts(table["position"].to_numpy(), HashLists(lists.flatten().to_numpy(), offsets))
    rows = table["bands"].to_pylist()
    keys = np.array([key for row in rows for key in row or ()], np.uint64)
    owner = np.repeat(np.arange(len(rows)), [len(row or ()) for row in rows])
    order = np.argsort(keys, kind="stable")
    return texts, keys[order], owner[order]


_EMPTY = pa.array([], pa.large_list(pa.uint64()))


def _lists(chunk: pa.Array) -> pa.Array:
    """Return a chunk with offsets of 64 bits: joined chunks may have more than 2^31 n-grams."""
    return chunk.cast(pa.large_list(pa.uint64()))


def _count_firsts(repeated: Duplicates) -> int:
    return len(np.unique(repeated.first))


def _firsts(repeated: Duplicates, number: int, num_rounds: int) -> Integers:
    firsts: Integers = np.unique(repeated.first)
    return np.compress(mix(firsts.astype(np.uint64)) % np.uint64(num_rounds) == number, firsts)


def _positions(evaluation: EvaluationSet) -> Integers:
    return evaluation.position


def _remote(function: Callable[..., Any], *values: Any) -> Any:
    # DEFAULT lets the task run anywhere; a Ray Tune trial would keep it in its own placement group
    return ray.remote(function).options(scheduling_strategy="DEFAULT").remote(*values)
