"""Passes that give domains to a corpus without a column of them.

They come after the reading pass, which stages rows without a domain:

1. sample: each part gives the questions to train on whose seeded hash is low. The bound follows
   from the number of rows, so some `SAMPLE_ROWS` reach the driver, whatever the size of the corpus.
   The driver fits the model (`clusters.py`) and writes it to the run folder.
2. assign: each part gets a file of domains and ids beside its staged rows, which the later passes
   lay over the rows.

The rows and the seed decide the sample and so the domains; their order and the units do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import ray

from baldistill.config import DataConfig
from baldistill.core.selection import hash_score
from baldistill.data.clusters import MAX_CHARS, ClusterModel, fit
from baldistill.data.ray_pass import Track, run_tasks
from baldistill.data.text import example_ids
from baldistill.data.validate import TRAIN
from baldistill.errors import DataError
from baldistill.run_folder import layout
from baldistill.storage import Storage

SAMPLE_ROWS = 20_000
"""About so many questions decide the clusters; the rest is only assigned."""

_BATCH_ROWS = 8192
_OVERLAY = pa.schema(
    [
        pa.field("domain", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("example_id", pa.string(), nullable=False),
    ]
)


def make_domains(
    config: DataConfig,
    seed: int,
    parts: Sequence[str],
    num_rows: int,
    storage: Storage,
    track: Track,
) -> None:
    """Give every staged row its domain, if that is a cluster (`data.domains.clusters`).

    Args:
        config: Of the corpus.
        seed: Of the sample and of the clusters.
        parts: Names of the staged parts.
        num_rows: Rows of all parts.
        storage: The run folder's.
        track: Shows progress.

    Raises:
        DataError: The questions cannot be grouped.
    """
    if config.clusters is None:
        return
    storage.fs.create_dir(storage.path(f"{layout.STAGING}/domains"), recursive=True)
    questions = _sample(parts, seed, SAMPLE_ROWS / num_rows, storage, track)
    model = fit(questions, config.clusters, seed)
    model.save(storage, layout.DOMAINS)
    # an id of a chat's turn says which chat it is from
    has_ids = config.columns.id is not None or config.columns.messages is not None
    shared = ray.put(model)

    def assign(index: int) -> Iterator[int]:
        yield _assign_part(storage, parts[index], ray.get(shared), has_ids=has_ids)

    assert sum(run_tasks(assign, len(parts), "assign domains", track)) == num_rows


def _sample(
    parts: Sequence[str], seed: int, share: float, storage: Storage, track: Track
) -> list[str]:
    """Return a share of the different questions to train on, by seeded hash."""

    def task(index: int) -> Iterator[pa.Table]:
        yield _sample_part(storage, parts[index], seed, share)

    found = pa.concat_tables(run_tasks(task, len(parts), "sample questions", track))
    if not len(found):
        raise DataError("no row is left to train on, so data.domains has nothing to look at")
    found = found.sort_by([("score", "ascending"), ("question", "ascending")])
    return list(dict.fromkeys(found["question"].to_pylist()))


def _sample_part(storage: Storage, name: str, seed: int, share: float) -> pa.Table:
    tables = [
        pa.table({"question": pa.array([], pa.string()), "score": pa.array([], pa.float64())})
    ]
    with storage.fs.open_input_file(_rows(storage, name)) as source:
        columns = ["question", "question_key", "role"]
        for batch in pq.ParquetFile(source).iter_batches(
            _BATCH_ROWS, columns=columns, use_threads=False
        ):
            score = hash_score(seed, batch["question_key"].cast(pa.string()))
            chosen = pa.array((score < share) & (batch["role"].to_numpy() == TRAIN))
            texts = pc.utf8_slice_codeunits(batch["question"].filter(chosen), 0, MAX_CHARS)
            tables.append(pa.table({"question": texts, "score": pa.array(score).filter(chosen)}))
    return pa.concat_tables(tables)


def _assign_part(storage: Storage, name: str, model: ClusterModel, *, has_ids: bool) -> int:
    """Write the domain and the id of each row of a part; return how many."""
    names, num_rows = pa.array(model.names, pa.string()), 0
    with (
        storage.fs.open_input_file(_rows(storage, name)) as source,
        storage.fs.open_output_stream(_overlay(storage, name)) as sink,
        ipc.new_file(sink, _OVERLAY) as writer,
    ):
        columns = ["question", "example_id"]
        for batch in pq.ParquetFile(source).iter_batches(
            _BATCH_ROWS, columns=columns, use_threads=False
        ):
            questions = batch["question"].to_pylist()
            codes, _ = model.assign(questions)
            ids = batch["example_id"]
            if not has_ids:  # as if the domains had been in a column
                ids = pa.array(example_ids([model.names[code] for code in codes], questions))
            domains = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names)
            writer.write_batch(pa.record_batch([domains, ids], schema=_OVERLAY))
            num_rows += len(batch)
    return num_rows


def read_domains(storage: Storage, name: str) -> pa.Table | None:
    """Return the domains and ids that were made for a staged part; None if it has its own."""
    if not storage.exists(f"{layout.STAGING}/domains/{name}.arrow"):
        return None
    with storage.fs.open_input_file(_overlay(storage, name)) as source:
        return ipc.open_file(source).read_all()


def with_domains(rows: pa.Table, made: pa.Table | None, start: int = 0) -> pa.Table:
    """Lay the domains that were made over staged rows; `start` is the first of them in the part."""
    if made is None:
        return rows
    part = made.slice(start, len(rows))
    for name in _OVERLAY.names:
        index = rows.column_names.index(name)
        column = part[name].cast(pa.string())
        rows = rows.set_column(index, rows.schema.field(index), column)
    return rows


def _rows(storage: Storage, name: str) -> str:
    return storage.path(f"{layout.STAGING}/rows/{name}.parquet")


def _overlay(storage: Storage, name: str) -> str:
    return storage.path(f"{layout.STAGING}/domains/{name}.arrow")
