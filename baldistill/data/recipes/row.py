"""What every source becomes: question, answer, domain, choices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pyarrow as pa

Role: TypeAlias = Literal["train", "evaluation"]
ROLES: tuple[Role, ...] = ("train", "evaluation")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a corpus.

    Attributes:
        domain: What is balanced.
        question: What the student is asked.
        answer: The gold answer; of several, the first that the source gives.
        choices: Of a multiple-choice question, in order: the first is A.
        split: Where the source's row itself says where it belongs; else its file does.
    """

    domain: str
    question: str
    answer: str
    choices: tuple[str, ...] | None = None
    split: Role | None = None


Transformation: TypeAlias = Callable[[Mapping[str, Any]], Iterable[Row]]
"""A row of the source to rows of the corpus: none where it has no gold answer."""

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
    """A passage and a question about it."""
    return f"{context.strip()}\n\n{question.strip()}"
