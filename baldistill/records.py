"""Tables that flow between the steps: Arrow schemas, row types, and the ids in them.

corpus -> candidates -> scored -> selected (+ synthesized) -> annotated -> student -> responses
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import pyarrow as pa

_EXAMPLE = [
    pa.field("example_id", pa.string(), nullable=False),
    pa.field("domain", pa.string(), nullable=False),
    pa.field("question", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("choices", pa.list_(pa.string())),
]

EXAMPLES = pa.schema(_EXAMPLE)
"""A valid row of the corpus or of the evaluation set. `choices` is null if there are none, and
`answer` is empty where the corpus has no gold answers."""

_TURN = pa.struct(
    [
        pa.field("role", pa.string(), nullable=False),  # system | user | assistant
        pa.field("content", pa.string(), nullable=False),
    ]
)

OPTIONAL = pa.schema(
    [
        pa.field("alternatives", pa.list_(pa.string())),  # answers that count as `answer` does
        pa.field("context", pa.list_(_TURN)),  # of a chat: what stands before the question
    ]
)
"""Further columns of an example, behind the others of a table, null where a row has no value.

A table has one only if one of its rows may have a value. So corpora without such values, and the
folders of earlier versions, have the tables that they always had.
"""


def with_optional(
    schema: pa.Schema, names: Collection[str], optional: pa.Schema = OPTIONAL
) -> pa.Schema:
    """Return a schema of examples with those of the optional columns that are among the names."""
    return pa.schema([*schema, *(field for field in optional if field.name in names)])


def as_rows_of(schema: pa.Schema, table: pa.Table) -> pa.Table:
    """Return the columns of a schema of examples, and what optional ones the table has."""
    wanted = with_optional(schema, table.column_names)
    return table.select(wanted.names).cast(wanted)


QUARANTINE = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # 1-based: line (JSONL), record (CSV, Parquet)
        pa.field("reason", pa.string(), nullable=False),  # one of a few words, to group by
        pa.field("detail", pa.string()),  # what exactly, for a person
        pa.field("content", pa.string()),  # the row as read, cut to 500 characters
    ]
)
"""A row that was left out of the corpus, its place, and the reason."""

RECORDED = pa.schema(
    [
        pa.field("domain", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),  # its place in the recording, from 0
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("rationale", pa.string(), nullable=False),
    ]
)
"""A new example that a teacher wrote before, in the order in which it was recorded."""

SCORED = pa.schema(
    [
        *_EXAMPLE,
        pa.field("score", pa.float64()),  # null or NaN: undefined, ranks last
        pa.field("response", pa.string()),  # of the student, if the metric needs one
        pa.field("num_tokens", pa.int32()),
        pa.field("nll_conditional", pa.float64()),  # mean negative log-likelihood of y given x
        pa.field("nll_unconditional", pa.float64()),  # the same of y alone
        pa.field("error", pa.string()),
        pa.field("correct", pa.bool_()),  # whether y is right, where there is a gold answer
    ]
)
"""A candidate with its selection score (higher is chosen first)."""

ANNOTATED = pa.schema(
    [
        *_EXAMPLE,
        pa.field("source", pa.string(), nullable=False),  # real | further | synthetic | repeated
        pa.field("rationale", pa.string()),  # null when the student learns the label alone
        pa.field("verified", pa.bool_()),  # the conclusion is the gold answer, or the majority's
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("request_id", pa.string()),  # of the teacher call; null without a call
    ]
)
"""An example that the student learns from: one unit of the budget B."""

OPTIONAL_OF_ANNOTATED = pa.schema(
    [
        *OPTIONAL,
        pa.field("repaired", pa.bool_()),  # true if the teacher wrote it as malformed JSON
    ]
)
"""The optional columns of `ANNOTATED`: those of an example, and what no corpus has."""

DIFFICULTY = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),  # of the call that wrote the example
        pa.field("domain", pa.string(), nullable=False),
        pa.field("solved", pa.float64(), nullable=False),  # share of the student's right answers
    ]
)
"""The difficulty of a new example for the student before the stage."""

REJECTED = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("purpose", pa.string(), nullable=False),  # rationale | synthesis
        pa.field("domain", pa.string(), nullable=False),
        pa.field("example_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string()),
    ]
)
"""An answer of a teacher that did not become an annotated example, and the reason."""

RESPONSES = pa.schema(
    [
        *_EXAMPLE,
        pa.field("response", pa.string()),
        pa.field("prediction", pa.string()),  # null when no answer could be extracted
        pa.field("score", pa.float64(), nullable=False),  # 1/0 for accuracy, else word F1
        pa.field("num_tokens", pa.int32()),
        pa.field("error", pa.string()),  # of the engine, or why the answer was not compared
    ]
)
"""The student's response to a question of the evaluation set."""

BENCHMARK_SCORES = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("example", pa.int64(), nullable=False),  # its number in the task
        pa.field("score", pa.float64(), nullable=False),
    ]
)
"""The score of a student's response to an example of a public benchmark."""

STORED = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("completion_tokens", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
    ]
)
"""An answer of a teacher in the response store."""


class _Row:
    """A row of one of these tables, with an attribute for each column."""

    __slots__ = ()
    schema: ClassVar[pa.Schema]
    optional: ClassVar[pa.Schema] = OPTIONAL

    @classmethod
    def to_table(cls, rows: Iterable[Self]) -> pa.Table:
        """Return rows as a table."""
        rows = list(rows)
        names = cls.optional.names
        used = [n for n in names if any(getattr(row, n, None) is not None for row in rows)]
        schema = with_optional(cls.schema, used, cls.optional)
        values = [{name: getattr(row, name) for name in schema.names} for row in rows]
        return pa.Table.from_pylist(values, schema=schema)

    @classmethod
    def from_table(cls, table: pa.Table) -> list[Self]:
        """Return the rows of a table, which may have further columns."""
        names = with_optional(cls.schema, table.column_names, cls.optional).names
        return [cls(**row) for row in table.select(names).to_pylist()]


@dataclass(frozen=True, slots=True)
class RecordedExample(_Row):
    """A row of `RECORDED`."""

    schema: ClassVar[pa.Schema] = RECORDED
    domain: str
    number: int
    question: str
    answer: str
    rationale: str


@dataclass(frozen=True, slots=True)
class Example(_Row):
    """A row of `EXAMPLES`."""

    schema = EXAMPLES

    example_id: str
    domain: str
    question: str
    answer: str
    choices: list[str] | None = None
    alternatives: list[str] | None = None
    context: list[dict[str, str]] | None = None

    @property
    def accepted(self) -> list[str]:
        """Return the gold answer and the alternatives that count as correct."""
        return [self.answer, *(self.alternatives or ())]

    @property
    def whole_question(self) -> str:
        """Return the question after the earlier turns of its chat."""
        return transcript(self.context, self.question)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedExample(Example):
    """A row of `ANNOTATED`."""

    schema = ANNOTATED
    optional = OPTIONAL_OF_ANNOTATED

    source: str
    rationale: str | None
    verified: bool | None
    attempts: int
    request_id: str | None
    repaired: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAnswer(_Row):
    """A row of `REJECTED`."""

    schema = REJECTED

    request_id: str
    purpose: str
    domain: str
    example_id: str | None
    reason: str
    text: str | None


def transcript(context: Sequence[Mapping[str, str]] | None, question: str) -> str:
    """Return a question behind the earlier turns of its chat as plain text; alone without any."""
    if not context:
        return question
    turns = [*((turn["role"], turn["content"]) for turn in context), ("user", question)]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in turns)


def digest(value: Mapping[str, object], size: int = 16) -> str:
    """Return the BLAKE2b hash of `size` bytes, in hex, of a JSON value with sorted keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def seed_for(seed: int, purpose: str, stage: int = 0) -> int:
    """Return a 60-bit seed for one purpose in one stage, unrelated to every other seed.

    Two choices by hash from the same rows need two seeds. The evaluation set, for example, takes
    the rows with the highest hashes, so that no row with a high hash of that seed is left.
    """
    return int(digest({"seed": seed, "purpose": purpose, "stage": stage})[:15], 16)
