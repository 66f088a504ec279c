"""Gold answers: a text, or a list of acceptable ones, of which the first is shown and learnt.

A list makes two columns of ours: `answer` has its first text, and `alternatives` the others. The
answer column is mapped to both (`rows.mapped_columns`), so that each reader reads it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from baldistill.data.text import BLANK, NotTextError, Problem, normalise, read_each, text_of

ALTERNATIVES = "alternatives"
LIST = pa.list_(pa.string())


def first_answer(value: Any) -> str | None:
    """Return the gold answer of a value that may be a list; None if there is none.

    Raises:
        NotTextError: The value is neither a text, number or boolean nor a list of them.
    """
    return _texts(value)[0] if isinstance(value, list) else text_of(value)


def further_answers(value: Any) -> list[str] | None:
    """Return the answers behind the first; None if there are none.

    Raises:
        NotTextError: As `first_answer`.
    """
    return _texts(value)[1:] or None if isinstance(value, list) else None


def _texts(value: list[Any]) -> list[str]:
    texts: list[str] = []
    for item in value:
        try:
            text = text_of(item)
        except NotTextError as error:
            raise NotTextError(f"a list with {error} in it") from None
        if text is None:
            raise NotTextError("a list of answers with a null in it")
        texts.append(text)
    if not texts:
        raise NotTextError("an empty list of answers")
    return texts


def split_lists(column: pa.Array) -> tuple[pa.Array, pa.Array] | None:
    """Return the first and the further texts of a list<string> column; None if a list is odd."""
    lengths = pc.list_value_length(column)
    if column.values.null_count or pc.any(pc.equal(lengths, 0)).as_py():
        return None
    first = pc.list_element(column, 0)
    rest = [texts[1:] or None if texts else None for texts in column.to_pylist()]
    return first, pa.array(rest, LIST)


def read_lists(column: pa.Array) -> tuple[pa.Array, pa.Array, dict[int, Problem]]:
    """Return the first and the further texts of a list column, and by index what is no answer."""
    first, problems = read_each(column, first_answer)
    rest, _ = read_each(column, further_answers)
    return pa.array(first, pa.string()), pa.array(rest, LIST), problems


def clean(alternatives: pa.Array, answers: pa.Array) -> pa.Array:
    """Return alternatives, normalised, without blank ones and repetitions; null where none is left.

    Args:
        alternatives: list<string>, shape (n,).
        answers: The normalised gold answers, shape (n,).
    """
    texts = normalise(alternatives.flatten())
    blank = pc.match_substring_regex(texts, BLANK).to_pylist()
    items = zip(texts.to_pylist(), blank, strict=True)
    cleaned: list[list[str] | None] = []
    lengths = pc.fill_null(pc.list_value_length(alternatives), 0).to_pylist()
    for answer, length in zip(answers.to_pylist(), lengths, strict=True):
        some = [next(items) for _ in range(length)]
        kept = dict.fromkeys(text for text, is_blank in some if not is_blank and text != answer)
        cleaned.append(list(kept) or None)
    return pa.array(cleaned, LIST)


def longest(alternatives: Sequence[str] | None) -> int:
    """Return the length of the longest alternative in characters."""
    return max(map(len, alternatives or ()), default=0)
