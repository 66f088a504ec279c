"""Make a corpus long-tailed: Zipf sizes by domain, rows by a seeded hash.

Two passes read the columns of ids and domains and one reads the rows, each as a stream of record
batches. Memory holds one number for each row that is chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from baldistill.core.selection import hash_score
from baldistill.data.rows import count_values
from baldistill.storage import Storage

_BATCH_ROWS = 8192


def count_domains(fs: pafs.FileSystem, files: Sequence[str]) -> dict[str, int]:
    """Count the rows of each domain of Parquet files, in order of name."""
    counts: Counter[str] = Counter()
    for batch in _batches(fs, files, ["domain"]):
        counts.update(count_values(batch.column("domain")))
    return dict(sorted(counts.items()))


def write_sample(
    fs: pafs.FileSystem,
    files: Sequence[str],
    sizes: Mapping[str, int],
    seed: int,
    out: Storage,
    name: str,
    id: str = "id",
    each: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch,
) -> None:
    """Write the rows of each domain whose seeded hash of the id is highest.

    The sample does not depend on the order of rows or files. A smaller size gives a subset.

    `files` are Parquet files with a column `domain` and a column `id` of unique ids; `sizes` has
    the number of rows to keep of each domain. A domain that `sizes` does not name is left out.
    `each` is applied to what is written.
    """
    bounds = _bounds(fs, files, sizes, seed, id)
    names = pa.array(list(bounds), pa.string())
    lowest = np.array([*bounds.values(), np.inf])
    writer: pq.ParquetWriter | None = None
    out.fs.create_dir(out.path(), recursive=True)
    try:
        for batch in map(each, _batches(fs, files, None)):
            if writer is None:
                writer = pq.ParquetWriter(out.path(name), batch.schema, filesystem=out.fs)
            codes = pc.index_in(batch.column("domain"), names).fill_null(len(names))
            scores = hash_score(seed, batch.column(id))
            writer.write_batch(batch.filter(pa.array(scores >= lowest[codes.to_numpy()])))
    finally:
        if writer is not None:
            writer.close()


def _bounds(
    fs: pafs.FileSystem, files: Sequence[str], sizes: Mapping[str, int], seed: int, id: str
) -> dict[str, float]:
    """Return the lowest score of each domain's sample."""
    best: dict[str, npt.NDArray[np.float64]] = {d: np.empty(0) for d, n in sizes.items() if n > 0}
    for batch in _batches(fs, files, ["domain", id]):
        scores = hash_score(seed, batch.column(id))
        domains = batch.column("domain")
        for domain in best.keys() & set(pc.unique(domains).to_pylist()):
            mask = pc.equal(domains, domain).to_numpy(zero_copy_only=False)
            found, most = np.concatenate([best[domain], scores[mask]]), sizes[domain]
            if len(found) > most:
                found = np.partition(found, len(found) - most)[-most:]
            best[domain] = found
    return {domain: float(found.min()) for domain, found in best.items() if len(found)}


def _batches(
    fs: pafs.FileSystem, files: Sequence[str], columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    for path in files:
        with fs.open_input_file(path) as file:
            yield from pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=columns)
