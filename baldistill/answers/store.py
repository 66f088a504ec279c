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
        table = self._dataset(tables).to_table(columns=["request_id", "__filename"])
        where = dict(zip(table["request_id"].to_pylist(), _names(table), strict=True))
        for journal in journals:
            rows = read_rows(self.storage.read_bytes(journal))
            where.update((row["request_id"], journal) for row in rows)
        return where

    def read(self, where: Mapping[str, str]) -> dict[str, Completion]:
        """Return answers by request id, from the segment of each request id."""
        return {
            row["request_id"]: Completion.from_row(row, segment)
            for segment, row in self._rows(where)
            if where.get(row["request_id"]) == segment
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

    def _rows(self, where: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the wanted rows, and others of the same journals, each with its segment."""
        journals, tables = _by_kind(set(where.values()))
        wanted = pc.field("request_id").isin(pa.array(list(where), pa.string()))
        columns = [*STORED.names, "__filename"]
        table = self._dataset(tables).to_table(columns=columns, filter=wanted)
        yield from zip(_names(table), table.select(STORED.names).to_pylist(), strict=True)
        for journal in journals:
            for row in read_rows(self.storage.read_bytes(journal)):
                yield journal, row

    def _dataset(self, segments: Iterable[str]) -> ds.Dataset:
        """Return Parquet segments as one dataset, which reads many small files side by side."""
        paths = [self.storage.path(segment) for segment in segments]
        return ds.dataset(paths, schema=STORED, filesystem=self.storage.fs, format="parquet")


def _by_kind(segments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the journals and the Parquet segments among these."""
    names = sorted(segments)
    journals = [name for name in names if name.endswith(SUFFIX)]
    return journals, [name for name in names if not name.endswith(SUFFIX)]


def _names(table: pa.Table) -> list[str]:
    return [str(path).rpartition("/")[2] for path in table["__filename"].to_pylist()]
