"""The passes that look for rows that should not be trained on, by option, before rows are written.

Near duplicates (`near_duplicates.py`) come before the evaluation set is chosen, so that it holds
none, and again after it, for rows to train on that are near a row of it. So do rows that hold a
question of it, or of further files (`contamination.py`).

What grows with the number of rows is on storage: 16 bytes for each band of a row, some 16 bands.
Keys that repeat go through the object store. The n-grams of rows that others are compared with
(8 bytes a word) are held in rounds of some `NGRAMS_PER_ROUND`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from baldistill.config import DataConfig, DecontaminateConfig, NearDuplicatesConfig
from baldistill.core.ngrams import Hashes, HashLists, Integers, band_shape, mix
from baldistill.core.overlap import References
from baldistill.data import contamination
from baldistill.data import near_duplicates as near
from baldistill.data.duplicates import Duplicates, search_keys
from baldistill.data.near_duplicates import Neighbours, Texts
from baldistill.data.ray_pass import Track, run_tasks, run_tasks_as_refs
from baldistill.data.sources import SourceFile
from baldistill.data.split import EvaluationSet
from baldistill.data.staged_part import KeyCount
from baldistill.errors import DataError
from baldistill.storage import Storage

NGRAMS_PER_ROUND = 80_000_000
"""640 MB: of two million questions of 40 words."""

_GATHERED = pa.schema(
    [
        pa.field("position", pa.int64()),
        pa.field("ngrams", pa.list_(pa.uint64())),
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
    bands, _ = band_shape(rule.threshold)
    num_rows = sum(count.num_keys for count in staged) // bands
    num_ngrams = num_firsts * sum(count.num_ngrams for count in staged) // max(1, num_rows)
    num_rounds = max(1, -(-num_ngrams // NGRAMS_PER_ROUND))
    found: list[ray.ObjectRef[pa.Table]] = []
    for number in range(num_rounds):
        wanted = _remote(_firsts, repeated, number, num_rounds)
        texts = _gather_rows(rule, parts, wanted, storage, bands=False)

        def compare(index: int, texts: Any = texts) -> Iterator[pa.Table]:
            yield from near.compare_part(
                storage, parts[index], ray.get(repeated), ray.get(texts)[0], rule
            )

        found += run_tasks_as_refs(compare, len(parts))
    return _remote(near.resolve, *found)


def find_leaks(
    config: DataConfig,
    files: Sequence[SourceFile],
    parts: Sequence[str],
    evaluation: ray.ObjectRef[EvaluationSet],
    storage: Storage,
) -> tuple[list[ray.ObjectRef[Neighbours]], list[str]]:
    """Find rows to train on that are near one of the evaluation set, and those that hold one.

    `files` are further ones whose questions no row may hold.

    Returns:
        The former and the latter; and warnings.
    """
    near_evaluation, contaminated = ray.put(Neighbours.none()), ray.put(Neighbours.none())
    warnings: list[str] = []
    if config.near_duplicates is not None:
        near_evaluation = find_near_evaluation(config.near_duplicates, parts, evaluation, storage)
    if config.decontaminate is not None:
        contaminated, warnings = find_contaminated(config, files, parts, evaluation, storage)
    return [near_evaluation, contaminated], warnings


def find_near_evaluation(
    rule: NearDuplicatesConfig,
    parts: Sequence[str],
    evaluation: ray.ObjectRef[EvaluationSet],
    storage: Storage,
) -> ray.ObjectRef[Neighbours]:
    """Find the rows to train on that are near one of the evaluation set, whatever its domain."""
    gathered = _gather_rows(rule, parts, _remote(_positions, evaluation), storage, bands=True)

    def compare(index: int) -> Iterator[pa.Table]:
        texts, band, owner = ray.get(gathered)
        yield from near.compare_with_evaluation(storage, parts[index], band, owner, texts, rule)

    return _remote(near.nearest, *run_tasks_as_refs(compare, len(parts)))


def find_contaminated(
    config: DataConfig,
    files: Sequence[SourceFile],
    parts: Sequence[str],
    evaluation: ray.ObjectRef[EvaluationSet],
    storage: Storage,
) -> tuple[ray.ObjectRef[Neighbours], list[str]]:
    """Find the rows to train on that hold a question of the evaluation set or of further files.

    Returns:
        The rows, and warnings.

    Raises:
        DataError: A file cannot be read, or no question is long enough.
    """
    rule = config.decontaminate
    assert rule is not None
    column, wanted = contamination.column_of(config), _remote(_positions, evaluation)

    def read(index: int) -> Iterator[pa.Table]:
        for texts in contamination.evaluation_questions(
            storage, parts[index], ray.get(wanted), rule
        ):
            yield _gathered(texts, None)

    tables, warnings = _read_files(files, column, rule)
    gathered = _remote(_join, *tables, *run_tasks_as_refs(read, len(parts)))
    indexed = _remote(_index, gathered, rule.threshold)
    shown = [file.shown for file in files]
    warnings += contamination.check_references(ray.get(_remote(_sizes, indexed)), shown, rule)

    def compare(index: int) -> Iterator[pa.Table]:
        references, positions = ray.get(indexed)
        yield from contamination.contaminated_rows(
            storage, parts[index], references, positions, ray.get(wanted), rule
        )

    return _remote(near.nearest, *run_tasks_as_refs(compare, len(parts))), warnings


def _read_files(
    files: Sequence[SourceFile], column: str, rule: DecontaminateConfig
) -> tuple[list[ray.ObjectRef[pa.Table]], list[str]]:
    """Return the n-grams of the questions in each file, and warnings."""
    read = ray.remote(_read_file).options(num_returns=2, scheduling_strategy="DEFAULT")
    found = [read.remote(file, column, rule) for file in files]
    warnings = []
    for file, (error, num_bad) in zip(files, ray.get([ref for _, ref in found]), strict=True):
        if error is not None:
            raise DataError(error)
        if num_bad:
            warnings.append(
                f"{num_bad} rows of {file.shown} have no text in `{column}`: nothing is compared "
                "with them"
            )
    return [table for table, _ in found], warnings


def _read_file(
    file: SourceFile, column: str, rule: DecontaminateConfig
) -> tuple[pa.Table, tuple[str | None, int]]:
    """Return the n-grams of a file's questions; and an error, and how many are no text."""
    tables, num_bad = [_GATHERED.empty_table()], 0
    try:
        for texts, bad in contamination.questions_of_file(file, column, rule):
            tables.append(_gathered(texts, None))
            num_bad += bad
    except DataError as error:  # raised here, it would arrive wrapped in the traces of Ray
        return tables[0], (str(error), 0)
    return pa.concat_tables(tables), (None, num_bad)


def _gather_rows(
    rule: NearDuplicatesConfig,
    parts: Sequence[str],
    wanted: ray.ObjectRef[Integers],
    storage: Storage,
    *,
    bands: bool,
) -> Any:
    """Bring the n-grams of some rows to the object store (see `_join`)."""

    def read(index: int) -> Iterator[pa.Table]:
        for texts, keys in near.gather(storage, parts[index], ray.get(wanted), rule, bands=bands):
            yield _gathered(texts, keys)

    return _remote(_join, *run_tasks_as_refs(read, len(parts)))


def _gathered(texts: Texts, keys: Hashes | None) -> pa.Table:
    """Return texts, and their band keys, as a table of _GATHERED."""
    lists = pa.ListArray.from_arrays(
        pa.array(texts.ngrams.offsets, pa.int32()), pa.array(texts.ngrams.values)
    )
    nothing = pa.nulls(len(lists), pa.list_(pa.uint64()))
    rows = nothing if keys is None else pa.array(keys.tolist(), pa.list_(pa.uint64()))
    return pa.table([pa.array(texts.position), lists, rows], schema=_GATHERED)


def _join(*tables: pa.Table) -> tuple[Texts, Hashes, Integers]:
    """Return gathered rows, and their band keys, ascending, each with the index of its row."""
    filled = [table for table in tables if table.num_columns]  # a task without rows may have none
    table = pa.concat_tables([_GATHERED.empty_table(), *filled]).sort_by("position")
    lists = pa.concat_arrays([_lists(chunk) for chunk in table["ngrams"].chunks] or [_EMPTY])
    sizes = np.diff(lists.offsets.to_numpy())
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
    texts = Texts(table["position"].to_numpy(), HashLists(lists.flatten().to_numpy(), offsets))
    rows = table["bands"].to_pylist()
    keys = np.array([key for row in rows for key in row or ()], np.uint64)
    owner = np.repeat(np.arange(len(rows)), [len(row or ()) for row in rows])
    order = np.argsort(keys, kind="stable")
    return texts, keys[order], owner[order]


def _index(
    gathered: tuple[Texts, Hashes, Integers], threshold: float
) -> tuple[References, Integers]:
    """Return the references, and their positions."""
    return References.of(gathered[0].ngrams, threshold), gathered[0].position


def _sizes(indexed: tuple[References, Integers]) -> Integers:
    return indexed[0].ngrams.sizes


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
