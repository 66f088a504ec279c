"""The response store: every answer of a teacher, by request id, as Parquet segments.

A folder of small immutable files, one for each batch of answers. It may be shared by many runs
(a comparison, a sweep): the id of a request says all that decides its answer, so an answer that
one run paid for serves all. A segment becomes visible whole, so a crash leaves no half answers.
Only ids are read to build the index: memory is some 100 bytes for an answer, and answers are
as many as teacher calls were paid, never as many as the corpus has rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from baldistill.generation.protocol import Completion
from baldistill.storage import Storage

SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("completion_tokens", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
    ]
)


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

    def append(self, completions: Sequence[Completion]) -> str:
        """Write answers durably as a new segment; returns its name."""
        segment = f"{uuid.uuid4().hex}.parquet"
        rows = {
            "request_id": [answer.request_id for answer in completions],
            "text": [answer.text for answer in completions],
            "prompt_tokens": [answer.prompt_tokens for answer in completions],
            "completion_tokens": [answer.completion_tokens for answer in completions],
            "finish_reason": [answer.finish_reason for answer in completions],
        }
        self.storage.write_table(segment, pa.table(rows, schema=SCHEMA))
        return segment

    def segments(self) -> list[str]:
        """Names of all complete segments."""
        return [name for name in self.storage.list() if name.endswith(".parquet")]

    def index(self, segments: Iterable[str]) -> dict[str, str]:
        """Which segment holds which request id."""
        table = self._dataset(segments).to_table(columns=["request_id", "__filename"])
        return dict(zip(table["request_id"].to_pylist(), _names(table), strict=True))

    def read(self, where: Mapping[str, str]) -> dict[str, StoredAnswer]:
        """Read answers.

        Args:
            where: Segment by request id.
        """
        columns = [*SCHEMA.names, "__filename"]
        wanted = pc.field("request_id").isin(pa.array(list(where), pa.string()))
        table = self._dataset(sorted(set(where.values()))).to_table(columns=columns, filter=wanted)
        segments = _names(table)
        answers: dict[str, StoredAnswer] = {}
        for row, segment in zip(table.select(SCHEMA.names).to_pylist(), segments, strict=True):
            request_id = row.pop("request_id")
            if where[request_id] == segment:
                answers[request_id] = StoredAnswer(**row)
        return answers

    def _dataset(self, segments: Iterable[str]) -> ds.Dataset:
        """Segments as one dataset: many small files are read side by side."""
        paths = [self.storage.path(segment) for segment in segments]
        return ds.dataset(paths, schema=SCHEMA, filesystem=self.storage.fs, format="parquet")


def _names(table: pa.Table) -> list[str]:
    return [str(path).rpartition("/")[2] for path in table["__filename"].to_pylist()]
