"""Turn values into text, normalise text, and hash it to identify rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.data.rows import Reason

Value = TypeVar("Value")
Problem: TypeAlias = tuple[Reason, str]
"""Reason for which a value cannot be read, and a description of the value."""

BLANK = r"\A[\s\pC]*\z"
"""An RE2 pattern of texts with nothing but whitespace, control and invisible characters."""


class NotTextError(ValueError):
    """A value that cannot be turned into text; the message says what it is."""


def text_of(value: Any) -> str | None:
    """Return a scalar as text: True is `true`, 12.0 is `12`; None and NaN are None.

    Raises:
        NotTextError: The value is a list, an object or something else without a plain text form.
    """
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            if math.isnan(value):
                return None
            return str(int(value)) if value.is_integer() else repr(value)
        case list() | tuple():
            raise NotTextError("a list")
        case dict():
            raise NotTextError("an object")
        case _:
            raise NotTextError(f"a value of type {type(value).__name__}")


def read_each(
    column: pa.Array, read: Callable[[Any], Value | None]
) -> tuple[list[Value | None], dict[int, Problem]]:
    """Return the values of a column, None for nulls and problems; and the problems by index."""
    values: list[Value | None] = []
    problems: dict[int, Problem] = {}
    for index, scalar in enumerate(column):
        values.append(None)
        try:
            values[-1] = read(scalar.as_py())
        except NotTextError as error:
            problems[index] = "wrong_type", str(error)
        except UnicodeDecodeError as error:
            problems[index] = "invalid_utf8", str(error)
    return values, problems


def column_text(column: pa.Array) -> tuple[pa.Array, dict[int, Problem]]:
    """Return a column of any type as strings, and by index the problems of values without text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):  # no look at the values: some cannot be read at all
        what = "an object" if pa.types.is_struct(column.type) else "a list"
        present = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return pa.nulls(len(column), pa.string()), {int(i): ("wrong_type", what) for i in present}
    if pa.types.is_floating(column.type):
        texts, problems = read_each(column, text_of)
        return pa.array(texts, pa.string()), problems
    if not _is_textual(column.type):
        return column.cast(pa.string()), {}
    # through binary, because a file may call invalid bytes a string
    data = column.cast(pa.binary())
    try:
        return data.cast(pa.string()), {}
    except pa.ArrowInvalid:
        texts, problems = read_each(data, lambda value: value and value.decode("utf-8"))
        return pa.array(texts, pa.string()), problems


def _is_textual(kind: pa.DataType) -> bool:
    textual = (pa.string(), pa.large_string(), pa.string_view())
    binary = (pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in (*textual, *binary) or pa.types.is_fixed_size_binary(kind)


def normalise(column: pa.Array) -> pa.Array:
    r"""Bring text to Unicode NFC, turn `\r\n` and `\r` into `\n`, and trim whitespace."""
    if not pc.all(pc.string_is_ascii(column)).as_py():
        column = pc.utf8_normalize(column, form="NFC")
    column = pc.replace_substring(column, "\r\n", "\n")
    column = pc.replace_substring(column, "\r", "\n")
    return pc.utf8_trim_whitespace(column)


def example_ids(domains: Sequence[str], questions: Sequence[str]) -> list[str]:
    """Return a 128-bit hex hash of each (domain, normalised question), alike on every machine."""
    blake2b = hashlib.blake2b
    return [
        blake2b(f"{domain}\0{question}".encode(), digest_size=16).hexdigest()
        for domain, question in zip(domains, questions, strict=True)
    ]


def keys(texts: Sequence[str], salt: str) -> npt.NDArray[np.uint64]:
    """Return 64-bit hashes to compare texts by, alike on every machine.

    Among 100 million different texts the chance that any two share a hash is 3e-4. Hashes under
    different salts (at most 16 ASCII characters) have nothing in common.
    """
    blake2b, person = hashlib.blake2b, salt.encode("ascii")
    joined = b"".join(
        [blake2b(text.encode(), digest_size=8, person=person).digest() for text in texts]
    )
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)
