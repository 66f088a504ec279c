"""The response store: every answer of a teacher, by request id, in segments.

A folder of small files, of two kinds. A Parquet segment holds a batch of answers that came from
the engines; it becomes visible whole. A journal (`generation.journal`) is written line by line by
the engine that receives the answers, where the folder is on a disk; it grows. Neither ever shows
a half answer, whatever crashed.

The store may be shared by many runs (a comparison, a sweep): the id of a request says all that
decides its answer, so an answer that one run paid for serves all. Only ids are kept to build the
index: memory is some 100 bytes for an answer, and answers are as many as teacher calls were paid,
never as many as the corpus has rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from baldistill.answers.completion import Completion
from baldistill.answers.journal import SUFFIX, row_of, rows_in
from baldistill.records import STORED
from baldistill.storage import Storage

_PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the store keeps of a completion."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


@dataclass(frozen=True, slots=True)
class ResponseStore:
    """Answers in a folder of a storage; picklable, used by all workers at once.

    Attributes:
        storage: The folder.
        in_flight: Handle of the actor that knows what runs side by side are asking just now
            (`teacher.in_flight`); None where the store has one run at a time.
    """

    storage: Storage
    in_flight: Any = None

    def journals(self) -> str | None:
        """Folder in which engines may write answers themselves, made; None off a disk."""
        if not self.storage.is_local:
            return None
        self.storage.make()
        return self.storage.path()

    def append(self, completions: Sequence[Completion]) -> str:
        """Write answers durably as a new segment; returns its name."""
        segment = f"{uuid.uuid4().hex}{_PARQUET}"
        rows = [row_of(completion) for completion in completions]
        self.storage.write_table(segment, pa.Table.from_pylist(rows, schema=STORED))
        return segment

    def segments(self) -> dict[str, int]:
        """All segments, each with what tells that it has grown: 0 for one that never does."""
        sizes = self.storage.sizes()
        journals = {name: size for name, size in sizes.items() if name.endswith(SUFFIX)}
        return journals | {name: 0 for name in sizes if name.endswith(_PARQUET)}

    def index(self, segments: Iterable[str]) -> dict[str, str]:
        """Which segment holds which request id."""
        journals, tables = _by_kind(segments)
        table = self._dataset(tables).to_table(columns=["request_id", "__filename"])
        where = dict(zip(table["request_id"].to_pylist(), _names(table), strict=True))
        for journal in journals:
            rows = rows_in(self.storage.read_bytes(journal))
            where.update((row["request_id"], journal) for row in rows)
        return where

    def read(self, where: Mapping[str, str]) -> dict[str, StoredAnswer]:
        """Read answers.

        Args:
            where: Segment by request id.
        """
        return {
            row.pop("request_id"): StoredAnswer(**row)
            for segment, row in self._rows(where)
            if where.get(row["request_id"]) == segment
        }

    def journaled(self, names: Set[str]) -> dict[str, Completion]:
        """Those of these answers that an engine has written itself, by request id."""
        index = self.index(name for name in self.segments() if name.endswith(SUFFIX))
        where = {name: index[name] for name in names & index.keys()}
        return {
            name: Completion.told(
                name,
                answer.text,
                prompt_tokens=answer.prompt_tokens,
                finish_reason=answer.finish_reason,
                billed_tokens=answer.completion_tokens,
                segment=where[name],
            )
            for name, answer in self.read(where).items()
        }

    def _rows(self, where: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Rows of these segments, the wanted ones among them, each with its segment."""
        journals, tables = _by_kind(set(where.values()))
        wanted = pc.field("request_id").isin(pa.array(list(where), pa.string()))
        columns = [*STORED.names, "__filename"]
        table = self._dataset(tables).to_table(columns=columns, filter=wanted)
        yield from zip(_names(table), table.select(STORED.names).to_pylist(), strict=True)
        for journal in journals:
            for row in rows_in(self.storage.read_bytes(journal)):
                yield journal, row

    def _dataset(self, segments: Iterable[str]) -> ds.Dataset:
        """Parquet segments as one dataset: many small files are read side by side."""
        paths = [self.storage.path(segment) for segment in segments]
        return ds.dataset(paths, schema=STORED, filesystem=self.storage.fs, format="parquet")


def _by_kind(segments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Journals, and Parquet segments."""
    names = sorted(segments)
    journals = [name for name in names if name.endswith(SUFFIX)]
    return journals, [name for name in names if not name.endswith(SUFFIX)]


def _names(table: pa.Table) -> list[str]:
    return [str(path).rpartition("/")[2] for path in table["__filename"].to_pylist()]
