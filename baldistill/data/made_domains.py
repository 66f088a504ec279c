"""Passes that give domains to a corpus without a column of them.

They come after the reading pass, which stages rows without a domain:

1. sample: each part gives the questions to train on whose seeded hash is low. The bound follows
   from the number of rows, so some `SAMPLE_ROWS` reach the driver, whatever the size of the corpus.
   The driver fits the model (`clusters.py`) and writes it to the run folder. By likelihood, this
   pass scores all questions, and gives figures instead of texts (`likelihood_bins.py`). By names,
   the teacher sorts the first of the sampled questions before (`named_domains.py`).
2. assign: each part gets a file of domains and ids beside its staged rows, which the later passes
   lay over the rows.

The rows and the seed decide the sample and so the domains; their order and the units do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import ray

from baldistill.config import DataConfig, DomainsConfig
from baldistill.core.selection import hash_score
from baldistill.data.clusters import MAX_CHARS, ClusterModel, fit
from baldistill.data.likelihood_bins import LikelihoodBins, Scorer, fit_bins
from baldistill.data.named_domains import NamedDomains, Namer, fit_names
from baldistill.data.ray_pass import Track, run_tasks
from baldistill.data.text import example_ids
from baldistill.data.validate import TRAIN
from baldistill.errors import DataError
from baldistill.run_folder import layout
from baldistill.storage import Storage

Model: TypeAlias = ClusterModel | LikelihoodBins | NamedDomains
"""A model that decides the domain of a question."""

SAMPLE_ROWS = 20_000
"""About so many questions decide the domains; the rest is only assigned."""

_BATCH_ROWS = 8192
_OVERLAY = pa.schema(
    [
        pa.field("domain", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("example_id", pa.string(), nullable=False),
    ]
)

_SCORES = pa.schema(
    [
        pa.field("num_tokens", pa.int64(), nullable=False),
        pa.field("log_likelihood", pa.float64(), nullable=False),
    ]
)


def make_domains(
    config: DataConfig,
    seed: int,
    parts: Sequence[str],
    num_rows: int,
    storage: Storage,
    track: Track,
    scorer: Scorer | None = None,
    namer: Namer | None = None,
) -> list[str]:
    """Give every staged row its domain, if its question decides it (`data.domains`).

    Args:
        config: Of the corpus.
        seed: Of the sample and of the clusters.
        parts: Names of the staged parts.
        num_rows: Rows of all parts.
        storage: The run folder's.
        track: Shows progress.
        scorer: Of `by: likelihood`.
        namer: Of `names`.

    Returns:
        What is doubtful about the domains.

    Raises:
        DataError: The questions cannot be grouped.
    """
    made = config.domains
    if made is None or config.domain_column is not None:
        return []
    for folder in ("domains", "scores"):
        storage.fs.create_dir(storage.path(f"{layout.STAGING}/{folder}"), recursive=True)
    share = SAMPLE_ROWS / num_rows
    if made.clusters is not None:
        sample = _sample(seed, share, parts, storage, track)
        model: Model = fit(sample["question"].to_pylist(), made.clusters, seed)
    elif made.names is not None:
        assert namer is not None, "`prepare_corpus` has looked"
        model = _fit_names(made, _sample(seed, share, parts, storage, track), namer)
    else:
        assert made.bins is not None
        model = _fit_bins(made.bins, seed, share, parts, storage, track, scorer)
    model.save(storage, layout.DOMAINS)
    # an id of a chat's turn says which chat it is from
    has_ids = config.columns.id is not None or config.columns.messages is not None
    shared = ray.put(model)

    def assign(index: int) -> Iterator[int]:
        yield _assign_part(storage, parts[index], ray.get(shared), has_ids=has_ids)

    assert sum(run_tasks(assign, len(parts), "assign domains", track)) == num_rows
    return model.agreement.warnings() if isinstance(model, NamedDomains) else []


def _sample(
    seed: int, share: float, parts: Sequence[str], storage: Storage, track: Track
) -> pa.Table:
    """Return questions to train on, in the order of their hashes, with their keys."""

    def look(index: int) -> Iterator[pa.Table]:
        yield _sample_part(storage, parts[index], seed, share)

    return _gather(run_tasks(look, len(parts), "sample questions", track))


def _fit_names(made: DomainsConfig, sample: pa.Table, namer: Namer) -> NamedDomains:
    """Let the teacher sort the first of the sampled questions, and learn from that."""
    assert made.names is not None
    questions = sample["question"].to_pylist()
    told = namer(questions[: made.sample])
    return fit_names(questions, sample["question_key"].to_numpy(), told, list(made.names))


def _fit_bins(
    bins: int,
    seed: int,
    share: float,
    parts: Sequence[str],
    storage: Storage,
    track: Track,
    scorer: Scorer | None,
) -> LikelihoodBins:
    if scorer is None:
        raise DataError(
            "this command cannot make domains by likelihood: let `baldistill data domains` "
            "write them (--out), and give it that file"
        )
    shared = ray.put(scorer)

    def score(index: int) -> Iterator[pa.Table]:
        yield _score_part(storage, parts[index], ray.get(shared), seed, share)

    sample = _gather(run_tasks(score, len(parts), "score questions", track))
    tokens, likely = (sample[name].to_numpy() for name in _SCORES.names)
    return fit_bins(tokens, likely, bins)


def _gather(tables: Iterable[pa.Table]) -> pa.Table:
    """Return sampled rows of different questions, in an order that their hashes decide."""
    found = pa.concat_tables(tables)
    if not len(found):
        raise DataError("no row is left to train on, so data.domains has nothing to look at")
    found = found.sort_by([("score", "ascending"), ("question_key", "ascending")])
    key = found["question_key"].to_numpy()
    return found.filter(pa.array(np.append(True, key[1:] != key[:-1])))


def _sample_part(storage: Storage, name: str, seed: int, share: float) -> pa.Table:
    """Return the sampled questions of a part."""
    tables = []
    for batch in _batches(storage, name):
        score, chosen = _chosen(batch, seed, share)
        texts = pc.utf8_slice_codeunits(batch["question"].filter(chosen), 0, MAX_CHARS)
        tables.append(score.append_column("question", texts))
    return pa.concat_tables(tables)


def _score_part(storage: Storage, name: str, scorer: Scorer, seed: int, share: float) -> pa.Table:
    """Write how likely each question of a part is; return the figures of the sampled ones."""
    tables = []
    with (
        storage.fs.open_output_stream(_scores(storage, name)) as sink,
        ipc.new_file(sink, _SCORES) as writer,
    ):
        for batch in _batches(storage, name):
            figures = pa.record_batch(list(scorer(batch["question"].to_pylist())), schema=_SCORES)
            writer.write_batch(figures)
            score, chosen = _chosen(batch, seed, share)
            for column in _SCORES.names:
                score = score.append_column(column, figures[column].filter(chosen))
            tables.append(score)
    return pa.concat_tables(tables)


def _chosen(batch: pa.RecordBatch, seed: int, share: float) -> tuple[pa.Table, pa.Array]:
    """Return key and hash of the sampled rows of a batch, and which they are."""
    score = hash_score(seed, batch["question_key"].cast(pa.string()))
    chosen = pa.array((score < share) & (batch["role"].to_numpy() == TRAIN))
    table = pa.table({"question_key": batch["question_key"], "score": pa.array(score)})
    return table.filter(chosen), chosen


def _batches(storage: Storage, name: str) -> Iterator[pa.RecordBatch]:
    columns = ["question", "question_key", "role", "example_id"]
    with storage.fs.open_input_file(_rows(storage, name)) as source:
        yield from pq.ParquetFile(source).iter_batches(
            _BATCH_ROWS, columns=columns, use_threads=False
        )


def _assign_part(storage: Storage, name: str, model: Model, *, has_ids: bool) -> int:
    """Write the domain and the id of each row of a part; return how many."""
    names, num_rows = pa.array(model.names, pa.string()), 0
    scores = None
    if isinstance(model, LikelihoodBins):
        with storage.fs.open_input_file(_scores(storage, name)) as source:
            scores = ipc.open_file(source).read_all()
    with (
        storage.fs.open_output_stream(_overlay(storage, name)) as sink,
        ipc.new_file(sink, _OVERLAY) as writer,
    ):
        for batch in _batches(storage, name):
            questions = batch["question"].to_pylist()
            if isinstance(model, ClusterModel):
                codes, _ = model.assign(questions)
            elif isinstance(model, NamedDomains):
                codes = model.assign(questions, batch["question_key"].to_numpy())
            else:
                assert scores is not None
                part = scores.slice(num_rows, len(batch))
                codes = model.assign(*(part[column].to_numpy() for column in _SCORES.names))
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


def _scores(storage: Storage, name: str) -> str:
    return storage.path(f"{layout.STAGING}/scores/{name}.arrow")
