"""Rows between reading and validation, and rows that are left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from baldistill.config import DataConfig
from baldistill.data.sources import Role
from baldistill.masking import masked_start
from baldistill.records import QUARANTINE

Reason: TypeAlias = Literal[
    "malformed_json",
    "not_an_object",
    "malformed_csv",
    "wrong_field_count",
    "invalid_utf8",
    "missing",
    "wrong_type",
    "empty",
    "question_too_long",
    "answer_too_long",
    "domain_too_long",
    "id_too_long",
    "unknown_split",
    "malformed_chat",
    "answer_not_in_choices",
    "duplicate",
    "duplicate_id",
    "in_evaluation_set",
    "near_duplicate",
    "contaminated",
]
"""Reason for which a row is in quarantine. Reasons from `duplicate` on are no faults of a row and
do not count against `max_bad_fraction`."""

CONTENT_CHARS = 500


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is left out: see `records.QUARANTINE`."""

    row: int
    reason: Reason
    detail: str
    content: str


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Rows as read, before validation.

    Attributes:
        rows: 1-based numbers in the file, ascending, shape (n,).
        columns: Our name (question, answer, domain, id, split) -> string array of length n.
            In place of the question there may be `messages`, chats as JSON text (`chats.py`).
        choices: list<string> array of length n, or None where no choices are mapped.
        extra: Optional column (`records.OPTIONAL`) -> array of length n, where the rows have one.
        turns: Place in its chat, from 0, of each of several examples of a row, shape (n,); None
            where a row is one example.
        raw: The lines themselves (binary, length n), or None where there are no lines.
        bad: Rows that could not be read; not among the n.
    """

    rows: npt.NDArray[np.int64]
    columns: Mapping[str, pa.Array]
    choices: pa.Array | None = None
    raw: pa.Array | None = None
    bad: Sequence[BadRow] = field(default_factory=tuple)
    extra: Mapping[str, pa.Array] = field(default_factory=dict)
    turns: npt.NDArray[np.int64] | None = None

    def content(self, index: int) -> str:
        """Return row `index` for a person to look at, cut."""
        if self.raw is not None:
            return cut(self.raw[index].as_py().decode("utf-8", "replace"))
        values = {name: column[index].as_py() for name, column in self.columns.items()}
        if self.choices is not None:
            values["choices"] = self.choices[index].as_py()
        values |= {name: column[index].as_py() for name, column in self.extra.items()}
        return content_of(values)


def content_of(values: Mapping[str, object]) -> str:
    """Return a row's values as JSON, cut."""
    return cut(json.dumps(values, ensure_ascii=False))


def cut(text: str) -> str:
    """Return a text without secrets and line end, at most `CONTENT_CHARS` long, as valid UTF-8."""
    short = masked_start(text.rstrip("\r\n"))[:CONTENT_CHARS]
    return short.encode("utf-8", "replace").decode("utf-8")


def answer_column(config: DataConfig, role: Role) -> str | None:
    """Return the column of the gold answers; that of the chats, where they hold them."""
    columns = config.columns
    own = columns.evaluation_answer if role == "evaluation" else None
    return own or columns.answer


def mapped_columns(config: DataConfig, role: Role) -> dict[str, str]:
    """Return our name -> the user's column, for the columns to read.

    `alternatives` is the answer column once more: see `gold_answers.py`.
    """
    columns = config.columns
    answer = answer_column(config, role)
    names = {
        "messages": columns.messages,
        "question": columns.question,
        "answer": answer,
        "domain": config.domain_column,
        "alternatives": answer,
        "id": columns.id,
        "choices": columns.choices,
    }
    if columns.messages is not None:
        names["question"] = None
        if answer == columns.messages:
            names["answer"] = names["alternatives"] = None
    if role == "train" and config.evaluation is None:
        names["split"] = columns.split
    return {ours: theirs for ours, theirs in names.items() if theirs is not None}


def count_values(column: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    """Return each value of a column with the number of its rows."""
    return {item["values"]: item["counts"] for item in column.value_counts().to_pylist()}


def quarantine_table(files: Sequence[str], bad: Sequence[BadRow]) -> pa.Table:
    """Return bad rows, each with its file, as a table of `records.QUARANTINE`."""
    return pa.table(
        {
            "file": files,
            "row": [item.row for item in bad],
            "reason": [item.reason for item in bad],
            "detail": [cut(item.detail) for item in bad],
            "content": [item.content for item in bad],
        },
        schema=QUARANTINE,
    )
