"""Replay recorded answers: distil from answers that were already paid for.

The table may be far larger than memory. It is read once, in batches. Its texts go to a scratch file
that is mapped into memory, and only an index of 16 bytes a recording stays in memory.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from baldistill.answers.completion import Completion
from baldistill.config.engines import ReplayColumns, ReplayOptions
from baldistill.errors import DataError, UserError
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.types import ModelRef, Request, Sampling, Subject
from baldistill.storage import Storage

_FORMATS = {".parquet": "parquet", ".pq": "parquet"} | dict.fromkeys(
    (".jsonl", ".ndjson", ".json"), "json"
)
_BATCH_ROWS = 4096


class ReplayEngine:
    """Answers with the text that was recorded for the example that a prompt is about."""

    def __init__(self, config: ReplayOptions) -> None:
        """Keep the options; `load` reads the table."""
        self._config = config

    def load(self, model: ModelRef) -> None:
        """Index the recordings; the model plays no part.

        Raises:
            UserError: There is no such table, or a column is missing.
        """
        self._recordings = Recordings(self._config.path, self._config.columns)

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> list[Completion]:
        """Answer all requests, in their order; `sampling` plays no part.

        Raises:
            DataError: An example has no recording, and `missing` is `error`.
        """
        return [self._answer(request) for request in requests]

    def score(self, token_ids: Sequence[npt.NDArray[np.int32]]) -> list[npt.NDArray[np.float32]]:
        """Raise: a recording has no probabilities."""
        raise UserError("teacher.kind `replay` cannot score texts: it only repeats them")

    def _answer(self, request: Request) -> Completion:
        subject = request.subject
        if subject is None:
            return Completion.failed(request.request_id, "not recorded: it is about no example")
        text = subject.recorded
        if text is None:
            text = self._recordings.find(subject)
        if text is not None:
            return Completion(request.request_id, text)
        if subject.attempt > 0:
            return Completion.failed(request.request_id, "no further recording: it has no more")
        if self._config.missing == "error" and subject.needed:
            raise DataError(
                f"{self._config.path} has no recording for example {subject.example_id} "
                f"({subject.question[:80]!r}): add it, or set teacher.missing=skip"
            )
        return Completion.failed(
            request.request_id, f"no recording: example {subject.example_id} is not there"
        )


class Recordings:
    """Recorded texts by key, in a scratch file, and the index of their keys."""

    def __init__(self, path: str, columns: ReplayColumns) -> None:
        """Read the table at a file, folder or URI, once.

        Raises:
            UserError: There is no such table, or a column is missing.
        """
        self._by_id = columns.id is not None
        dataset = _open(path)
        wanted = _check_columns(path, dataset, columns)
        schema = pa.schema([("key", pa.string()), ("text", pa.string())])
        hashes, starts = [np.empty(0, np.uint64)], [0]
        with tempfile.NamedTemporaryFile(prefix="baldistill-replay-", suffix=".arrow") as file:
            with pa.ipc.new_file(file, schema) as writer:
                for batch in _recorded(dataset, wanted, columns):
                    writer.write_batch(batch)
                    hashes.append(_hashes(batch["key"].to_pylist()))
                    starts.append(starts[-1] + batch.num_rows)
            file.flush()
            # The mapping reads pages on use, also after `with` has deleted the file.
            self._reader = pa.ipc.open_file(pa.memory_map(file.name))
        every = np.concatenate(hashes)
        self._rows = np.argsort(every, kind="stable")  # equal keys stay in the table's order
        self._hashes, self._starts = every[self._rows], np.array(starts)

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, subject: Subject) -> str | None:
        """Return a text recorded for an example; attempt n gets the n-th of several, from 0."""
        key = subject.example_id if self._by_id else subject.question
        (hashed,) = _hashes([key])
        first = int(np.searchsorted(self._hashes, hashed))
        last = int(np.searchsorted(self._hashes, hashed, side="right"))
        found = 0
        for row in self._rows[first:last]:
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            batch, at = self._reader.get_batch(number), int(row - self._starts[number])
            if batch["key"][at].as_py() != key:  # another key with the same hash
                continue
            if found == subject.attempt:
                return str(batch["text"][at].as_py())
            found += 1
        return None


def check_recording(config: ReplayOptions) -> None:
    """Check that the table exists and has its columns, before anything starts.

    Raises:
        DataError: There is no such table, or a column is missing.
    """
    _check_columns(config.path, _open(config.path), config.columns)


def _open(path: str) -> ds.Dataset:
    storage = Storage.open(path)
    info = storage.fs.get_file_info(storage.path())
    if info.type == pafs.FileType.NotFound:
        raise DataError(f"teacher.path: {storage.uri} does not exist")
    files = [storage.path()]
    if info.type == pafs.FileType.Directory:
        below = storage.fs.get_file_info(pafs.FileSelector(storage.path(), recursive=True))
        files = sorted(i.path for i in below if i.is_file and i.base_name[0] not in "._")
    formats = {_FORMATS.get(PurePosixPath(file).suffix.lower(), "") for file in files}
    if len(formats) != 1 or formats == {""}:
        raise DataError(
            f"teacher.path: {storage.uri} must be Parquet (.parquet, .pq) or JSON lines (.jsonl, "
            ".ndjson, .json), or a folder of files of one of them"
        )
    try:
        return ds.dataset(files, filesystem=storage.fs, format=formats.pop())
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"teacher.path: cannot read {storage.uri}: {error}") from None


def _check_columns(path: str, dataset: ds.Dataset, columns: ReplayColumns) -> list[str]:
    """Return the columns to read, the key's first."""
    named = {"id": columns.id} if columns.id else {"question": columns.question}
    named |= {"text": columns.text} if columns.text else {"rationale": columns.rationale}
    if columns.answer and not columns.text:
        named["answer"] = columns.answer
    for ours, theirs in named.items():
        if theirs not in dataset.schema.names:
            raise DataError(
                f"teacher.columns.{ours}: {path} has no column {theirs!r} (it has: "
                f"{', '.join(dataset.schema.names)})"
            )
    return list(named.values())


def _recorded(
    dataset: ds.Dataset, wanted: list[str], columns: ReplayColumns
) -> Iterator[pa.RecordBatch]:
    """Yield key and text of each row that has both, in the order of the table."""
    try:
        for batch in dataset.to_batches(columns=wanted, batch_size=_BATCH_ROWS):
            key, text, *answer = (batch[name].cast(pa.string()) for name in wanted)
            if not columns.id:
                key = _normalised(key)
            blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(text, "")), "")
            if answer:
                text = pc.utf8_rtrim_whitespace(text)
                whole = pc.binary_join_element_wise(text, answer[0], "\nAnswer: ")
                text = pc.coalesce(whole, text)  # rows without an answer: the explanation alone
            rows = pc.and_(pc.is_valid(key), pc.invert(blank))
            complete = pa.RecordBatch.from_arrays([key, text], names=["key", "text"]).filter(rows)
            if complete.num_rows:
                yield complete
    except pa.ArrowInvalid as error:
        raise DataError(f"teacher.path: a recording cannot be read as text: {error}") from None


def _normalised(questions: pa.Array) -> pa.Array:
    """Normalise questions as the corpus does: NFC, Unix line ends, no whitespace around."""
    questions = pc.utf8_normalize(questions, form="NFC")
    questions = pc.replace_substring(questions, "\r\n", "\n")
    return pc.utf8_trim_whitespace(pc.replace_substring(questions, "\r", "\n"))


def _hashes(keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    blake2b = hashlib.blake2b
    joined = b"".join(blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)
