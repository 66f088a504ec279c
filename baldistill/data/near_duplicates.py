"""Near duplicates of real rows: MinHash finds candidates, and their n-grams decide.

A text is the set of its n-grams of words. Two rows are near duplicates if they have the same domain
and role, and |A & B| / |A | B| of their sets is at least the threshold. (Broder, 1997: On the
resemblance and containment of documents.)

1. `stage_band_keys` writes some 16 keys a row, hashes of bands of its MinHash signature
   (datasketch). Rows that repeat an earlier one are left out.
2. The search for exact duplicates (`duplicates.py`) finds keys that repeat, and for each the first
   row. So a row is compared with the first of each band that it shares, and never with all: the
   work grows with the rows, however many are alike.
3. `gather` reads the n-grams of these first rows; `compare_part` compares.
4. `resolve` goes through the rows in the order of files: one is left out if an earlier row that
   stays is near it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from baldistill.config import NearDuplicatesConfig
from baldistill.core.ngrams import Hashes, HashLists, Integers, band_keys, band_shape, jaccard
from baldistill.core.ngrams import ngrams as ngrams_of
from baldistill.data.duplicates import Duplicates
from baldistill.data.made_domains import read_domains, with_domains
from baldistill.data.staged_part import KEYS, KeyCount, key_file, open_keys
from baldistill.data.text import keys
from baldistill.data.validate import EVALUATION, TRAIN, row_of
from baldistill.data.words import hash_words
from baldistill.records import transcript
from baldistill.run_folder import layout
from baldistill.storage import Storage

NEIGHBOURS = pa.schema(
    [
        pa.field("position", pa.int64()),
        pa.field("partner", pa.int64()),
        pa.field("similarity", pa.float32()),
    ]
)
"""A row, another row that it is like, and how much."""

_BATCH_ROWS = 8192
_COLUMNS = ["position", "role", "domain", "question", "context", "key", "id_key"]
_SEED = 1


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Rows that are left out because of another one; on a worker the arrays are shared memory.

    Attributes:
        position: Ascending, each once.
        partner: Position of the other row.
        similarity: Of the two, from 0 to 1.
    """

    position: Integers
    partner: Integers
    similarity: npt.NDArray[np.float32]

    @classmethod
    def of(cls, table: pa.Table) -> Neighbours:
        """Read rows of NEIGHBOURS, ascending by position."""
        return cls(*(table[name].to_numpy() for name in NEIGHBOURS.names))

    @classmethod
    def none(cls) -> Neighbours:
        """Return no rows."""
        return cls.of(NEIGHBOURS.empty_table())

    def of_rows(self, position: Integers) -> tuple[Integers, npt.NDArray[np.float32]]:
        """Return the partner of each row, or -1, and the similarity."""
        if not len(self.position):
            return np.full(len(position), -1, np.int64), np.zeros(len(position), np.float32)
        place = np.minimum(np.searchsorted(self.position, position), len(self.position) - 1)
        found = self.position[place] == position
        return np.where(found, self.partner[place], -1), self.similarity[place]


@dataclass(frozen=True, slots=True)
class Texts:
    """The n-grams of some rows, by position (ascending)."""

    position: Integers
    ngrams: HashLists

    def index_of(self, position: Integers) -> Integers:
        """Return the index of each row, or -1."""
        if not len(self.position):
            return np.full(len(position), -1, np.int64)
        place = np.minimum(np.searchsorted(self.position, position), len(self.position) - 1)
        return np.where(self.position[place] == position, place, -1)


def band_keys_of(texts: pa.Array, rule: NearDuplicatesConfig) -> tuple[Hashes, int]:
    """Return the keys of each text's bands, shape (n, b), and the number of all n-grams."""
    from datasketch import MinHash  # with scipy: only where it is needed

    bands, rows = band_shape(rule.threshold)
    words, numbers = hash_words(texts, marks=True)
    lists = ngrams_of(words, rule.ngram, whole_if_short=True)
    sketches = MinHash.generator(
        lists, num_perm=bands * rows, seed=_SEED, scheme="affine64", hashfunc=int
    )
    signatures = np.empty((len(lists), bands * rows), np.uint64)
    for index, sketch in enumerate(sketches):
        signatures[index] = sketch.hashvalues
    found = band_keys(signatures, bands, rows)
    found = found ^ numbers[:, None] if rule.same_numbers else found
    return found, len(lists.values)


def texts_of(rows: pa.Table, rule: NearDuplicatesConfig) -> Texts:
    """Return the n-grams of staged rows."""
    rows = rows.sort_by("position")
    words, _ = hash_words(questions_of(rows), marks=True)
    lists = ngrams_of(words, rule.ngram, whole_if_short=True).distinct()
    return Texts(rows["position"].to_numpy(), lists)


def questions_of(rows: pa.Table) -> pa.Array:
    """Return the questions of staged rows, behind what stands before them in a chat."""
    questions = rows["question"].combine_chunks()
    if rows["context"].null_count == len(rows):
        return questions
    pairs = zip(rows["context"].to_pylist(), questions.to_pylist(), strict=True)
    return pa.array([transcript(before, question) for before, question in pairs], pa.string())


def stage_band_keys(
    storage: Storage, name: str, duplicates: Duplicates, rule: NearDuplicatesConfig
) -> KeyCount:
    """Write the band keys of a part's rows as a key file, a batch for each batch of rows."""
    staged = KeyCount(_near(name))
    with open_keys(storage, key_file(staged.name)) as writer:
        for rows in batches_of(storage, name):
            position = rows["position"].to_numpy()
            repeats = duplicates.originals(rows["key"].to_numpy(), position)
            same_id = duplicates.originals(rows["id_key"].to_numpy(), position)
            rows = rows.filter(pa.array((repeats < 0) & (same_id < 0)))
            found, num_ngrams = band_keys_of(questions_of(rows), rule)
            found = found ^ _salt(rows)[:, None]
            position = np.repeat(rows["position"].to_numpy(), found.shape[1])
            writer.write_batch(pa.record_batch([found.ravel(), position], schema=KEYS))
            staged.num_keys += len(position)
            staged.num_ngrams += num_ngrams
    return staged


def gather(
    storage: Storage, name: str, wanted: Integers, rule: NearDuplicatesConfig, *, bands: bool
) -> Iterator[tuple[Texts, Hashes | None]]:
    """Yield the rows of a part at the wanted positions; with `bands` their band keys, too."""
    for rows in batches_of(storage, name):
        rows = rows.filter(pa.array(np.isin(rows["position"].to_numpy(), wanted)))
        if len(rows):
            rows = rows.sort_by("position")
            keys_of_bands = band_keys_of(questions_of(rows), rule)[0] if bands else None
            yield texts_of(rows, rule), keys_of_bands


def compare_part(
    storage: Storage, name: str, repeated: Duplicates, firsts: Texts, rule: NearDuplicatesConfig
) -> Iterator[pa.Table]:
    """Yield the rows of a part that are near the first row of a band (NEIGHBOURS)."""
    with storage.fs.open_input_file(storage.path(key_file(_near(name)))) as stream:
        file = ipc.open_file(stream)
        for number, rows in enumerate(batches_of(storage, name)):
            batch = file.get_batch(number)
            position = batch["position"].to_numpy()
            first = repeated.originals(batch["key"].to_numpy(), position)
            yield _near_pairs(rows, position[first >= 0], first[first >= 0], firsts, rule)


def compare_with_evaluation(
    storage: Storage,
    name: str,
    band: Hashes,
    owner: Integers,
    evaluation: Texts,
    rule: NearDuplicatesConfig,
) -> Iterator[pa.Table]:
    """Yield the rows to train on that are near one of the evaluation set, whatever its domain.

    Args:
        storage: The run folder's.
        name: Of the part.
        band: Band keys of the evaluation set, ascending.
        owner: Index in `evaluation` of the row that has each key.
        evaluation: Its texts.
        rule: What is near.
    """
    with storage.fs.open_input_file(storage.path(key_file(_near(name)))) as stream:
        file = ipc.open_file(stream)
        for number, rows in enumerate(batches_of(storage, name)):
            batch = file.get_batch(number)
            position = batch["position"].to_numpy()
            order = np.argsort(rows["position"].to_numpy())
            sorted_rows = rows.take(pa.array(order))
            at = np.searchsorted(sorted_rows["position"].to_numpy(), position)
            key = batch["key"].to_numpy() ^ _salt(sorted_rows)[at]
            start, stop = np.searchsorted(band, key), np.searchsorted(band, key, side="right")
            stop = np.where(sorted_rows["role"].to_numpy()[at] == TRAIN, stop, start)
            sizes = np.minimum(stop - start, _MOST_ALIKE)
            ends = np.cumsum(sizes)
            within = np.arange(sizes.sum()) - np.repeat(ends - sizes, sizes)
            partner = evaluation.position[owner[np.repeat(start, sizes) + within]]
            yield _near_pairs(rows, np.repeat(position, sizes), partner, evaluation, rule)


_MOST_ALIKE = 8
"""A row is compared with at most so many rows of the evaluation set that share a band with it."""


def _near_pairs(
    rows: pa.Table, position: Integers, partner: Integers, known: Texts, rule: NearDuplicatesConfig
) -> pa.Table:
    """Return those pairs of rows and known texts that are near duplicates (NEIGHBOURS)."""
    pairs = np.unique(np.stack([position, partner], axis=1), axis=0)
    # turns of one chat have most of their context in common
    pairs = pairs[row_of(pairs[:, 0]) != row_of(pairs[:, 1])]
    right = known.index_of(pairs[:, 1])
    pairs, right = pairs[right >= 0], right[right >= 0]
    if not len(pairs):
        return NEIGHBOURS.empty_table()
    wanted = np.isin(rows["position"].to_numpy(), pairs[:, 0])
    texts = texts_of(rows.filter(pa.array(wanted)), rule)
    similarity = jaccard(texts.ngrams, texts.index_of(pairs[:, 0]), known.ngrams, right)
    near = similarity >= rule.threshold - 1e-9
    columns = [pairs[near, 0], pairs[near, 1], similarity[near].astype(np.float32)]
    return pa.table(columns, schema=NEIGHBOURS)


def resolve(*tables: pa.Table) -> Neighbours:
    """Return the rows that are left out: those near an earlier row that stays.

    One pass over the pairs in the order of rows: what holds for all earlier rows is known. The
    partner is the first such row.
    """
    pairs = _joined(tables)
    pairs = pairs.sort_by([("position", "ascending"), ("partner", "ascending")])
    later, earlier = pairs["position"].to_numpy(), pairs["partner"].to_numpy()
    rows, row_of_pair = np.unique(later, return_inverse=True)
    place = np.minimum(np.searchsorted(rows, earlier), max(len(rows) - 1, 0))
    partner_row = np.where(rows[place] == earlier, place, -1) if len(rows) else place
    left_out = bytearray(len(rows))
    chosen = np.zeros(len(pairs), np.bool_)
    for start in range(0, len(pairs), 1_000_000):
        some = slice(start, start + 1_000_000)
        both = zip(row_of_pair[some].tolist(), partner_row[some].tolist(), strict=True)
        for index, (row, partner) in enumerate(both, start):
            if not left_out[row] and (partner < 0 or not left_out[partner]):
                left_out[row] = 1
                chosen[index] = True
    return Neighbours.of(pairs.filter(pa.array(chosen)))


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Join tables of NEIGHBOURS; a task without any may leave a table without columns."""
    return pa.concat_tables([NEIGHBOURS.empty_table(), *(t for t in tables if t.num_columns)])


def nearest(*tables: pa.Table) -> Neighbours:
    """Return for each row the partner that it is most like."""
    pairs = _joined(tables).sort_by(
        [("position", "ascending"), ("similarity", "descending"), ("partner", "ascending")]
    )
    position = pairs["position"].to_numpy()
    first = np.ones(len(position), np.bool_)
    first[1:] = position[1:] != position[:-1]
    return Neighbours.of(pairs.filter(pa.array(first)))


def batches_of(storage: Storage, name: str) -> Iterator[pa.Table]:
    """Yield the staged rows of a part with their domains; always the same batches."""
    made, start = read_domains(storage, name), 0
    path = storage.path(f"{layout.STAGING}/rows/{name}.parquet")
    with storage.fs.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        for batch in file.iter_batches(_BATCH_ROWS, columns=_COLUMNS, use_threads=False):
            rows = pa.Table.from_batches([batch])
            if made is not None:
                with_ids = rows.append_column("example_id", pa.nulls(len(rows), pa.string()))
                rows = with_domains(with_ids, made, start).drop_columns(["example_id"])
            start += len(batch)
            yield rows


def _salt(rows: pa.Table) -> Hashes:
    """Return what sets apart the keys of rows of other domains and roles, shape (n,)."""
    domains = rows["domain"].combine_chunks().dictionary_encode()
    salt = keys(domains.dictionary.to_pylist(), "near")[domains.indices.to_numpy()]
    return np.where(rows["role"].to_numpy() == EVALUATION, ~salt, salt)


def _near(name: str) -> str:
    return f"near-{name}"
