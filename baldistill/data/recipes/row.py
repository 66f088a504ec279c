"""The rows that every source is turned into: question, answer, domain, choices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from baldistill.data.sources import Role

ROLES: tuple[Role, ...] = ("train", "evaluation")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a corpus.

    Of several gold answers it has the first that the source gives. The first of the choices is A.
    `split` is set if the source's row says where it belongs; else its file says so.
    """

    domain: str
    question: str
    answer: str
    choices: tuple[str, ...] | None = None
    split: Role | None = None


Transformation: TypeAlias = Callable[[Mapping[str, Any]], Iterable[Row]]
"""Turns a row of the source into rows of the corpus: none if it has no gold answer."""

CORPUS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("choices", pa.list_(pa.string())),
    ]
)
"""The columns of `train.parquet` and `evaluation.parquet`."""


def with_context(context: str, question: str) -> str:
    """Join a passage and a question about it."""
    return f"{context.strip()}\n\n{question.strip()}"
