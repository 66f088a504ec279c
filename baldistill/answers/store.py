"""The response store: every answer of a teacher, by request id, in segments.

The store is a folder of small files of two kinds. A Parquet segment holds a batch of answers that
engines returned to the driver; it becomes visible whole. A journal (`answers.journal`) is written
line by line by the engine that receives the answers, if the folder is on a disk; it grows, and also
says which calls may have been sent. A crash never leaves half an answer visible in either.

Many runs (of a comparison or a sweep) may share a store. A request id covers all that decides the
answer, so an answer that one run paid for serves all runs. The index holds ids alone: some 100
bytes for each paid call, whatever the size of the corpus.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from baldistill.answers import call_notes
from baldistill.answers.completion import Completion
from baldistill.answers.journal import SUFFIX, read_calls, read_rows
from baldistill.errors import UserError
from baldistill.records import STORED
from baldistill.storage import Storage

_PARQUET = ".parquet"
_READERS = 16  # files read at once: an object store takes long for each


@dataclass(frozen=True, slots=True)
class ResponseStore:
    """Answers in a folder of a storage; picklable, used by all workers at once.

    Attributes:
        storage: The folder.
        in_flight: Handle of the actor that knows which requests the runs that share the store are
            asking now (`teacher.in_flight`); None where one run at a time uses the store.
    """

    storage: Storage
    in_flight: Any = None

    def for_engines(self) -> Storage:
        """Return the folder, in which engines of a server write; make it where it is on a disk.

        A folder that an engine made, on a machine that does not mount the driver's, would keep
        answers that nobody finds.
        """
        if self.storage.is_local:
            self.storage.make()
        return self.storage

    def append(self, completions: Sequence[Completion]) -> str:
        """Write answers durably as a new segment; return its name."""
        segment = f"{uuid.uuid4().hex}{_PARQUET}"
        rows = [completion.to_row() for completion in completions]
        self.storage.write_table(segment, pa.Table.from_pylist(rows, schema=STORED))
        return segment

    def segments(self) -> dict[str, int]:
        """Return each segment with its size if it is a journal, which may grow, else with 0."""
        sizes = self.storage.sizes()
        journals = {name: size for name, size in sizes.items() if name.endswith(SUFFIX)}
        return journals | {name: 0 for name in sizes if name.endswith(_PARQUET)}

    def index(self, segments: Iterable[str]) -> dict[str, str]:
        """Return the segment of each request id in these segments."""
        journals, tables = _by_kind(segments)
        table = self._table(tables, ["request_id", "__filename"])
        where = dict(zip(table["request_id"].to_pylist(), _names(table), strict=True))
        for journal in journals:
            where.update((answer.request_id, journal) for answer in self._journal(journal))
        return where

    def read(self, where: Mapping[str, str]) -> dict[str, Completion]:
        """Return answers by request id, from the segment of each request id."""
        return {
            answer.request_id: answer
            for answer in self._answers(where)
            if where.get(answer.request_id) == answer.segment
        }

    def sent(self) -> set[tuple[str, str]]:
        """Return the request id and the name of each call that engines may have sent."""
        suffixes = (SUFFIX, call_notes.SUFFIX)
        names = [name for name in self.storage.list() if name.endswith(suffixes)]
        with ThreadPoolExecutor(_READERS) as readers:
            files = readers.map(self.storage.read_bytes, names)
            return {call for file in files for call in read_calls(file)}

    def read_journals(self, request_ids: Set[str]) -> dict[str, Completion]:
        """Return those of these answers that engines have written to their journals."""
        index = self.index(name for name in self.segments() if name.endswith(SUFFIX))
        return self.read({name: index[name] for name in request_ids & index.keys()})

    def _answers(self, where: Mapping[str, str]) -> Iterator[Completion]:
        """Yield the wanted answers, and others of the same journals."""
        journals, tables = _by_kind(set(where.values()))
        wanted = pc.field("request_id").isin(pa.array(list(where), pa.string()))
        table = self._table(tables, [*STORED.names, "__filename"], wanted)
        for segment, row in zip(_names(table), table.select(STORED.names).to_pylist(), strict=True):
            try:
                yield Completion.from_row(row, segment)
            except ValueError as error:
                raise self._damaged(segment, error) from None
        for journal in journals:
            yield from self._journal(journal)

    def _journal(self, journal: str) -> Iterator[Completion]:
        """Yield the answers in a journal; lines that hold none are ignored, as damaged ones are."""
        for row in read_rows(self.storage.read_bytes(journal)):
            with contextlib.suppress(ValueError):
                yield Completion.from_row(row, journal)

    def _table(
        self, segments: Sequence[str], columns: list[str], wanted: pc.Expression | None = None
    ) -> pa.Table:
        """Read columns of Parquet segments as one dataset: many small files side by side.

        Raises:
            UserError: A segment is damaged.
        """
        try:
            return self._dataset(segments).to_table(columns=columns, filter=wanted)
        except (pa.ArrowException, OSError) as error:
            for segment in segments:  # the error does not always name the file
                try:
                    self._dataset([segment]).to_table()
                except (pa.ArrowException, OSError) as damage:
                    if getattr(damage, "errno", None) is None:  # it was read, and is no table
                        raise self._damaged(segment, damage) from None
            raise error

    def _damaged(self, segment: str, damage: Exception) -> UserError:
        return UserError(
            f"{self.storage.path(segment)} is damaged ({str(damage).splitlines()[0]}): restore it, "
            "or delete it, and the teacher is asked, and paid, again for the answers in it"
        )

    def _dataset(self, segments: Iterable[str]) -> ds.Dataset:
        paths = [self.storage.path(segment) for segment in segments]
        return ds.dataset(paths, schema=STORED, filesystem=self.storage.fs, format="parquet")


def _by_kind(segments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the journals and the Parquet segments among these."""
    names = sorted(segments)
    journals = [name for name in names if name.endswith(SUFFIX)]
    return journals, [name for name in names if not name.endswith(SUFFIX)]


def _names(table: pa.Table) -> list[str]:
    return [str(path).rpartition("/")[2] for path in table["__filename"].to_pylist()]
