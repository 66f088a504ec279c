"""Turn values into text, normalise text, and hash it to identify rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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


def column_text(column: pa.Array) -> tuple[pa.Array, dict[int, tuple[bool, str]]]:
    """Return a column of any type as strings.

    Returns:
        The strings (null if a row has no value or no text), and for each row whose value is not
        text: its index -> (whether it is invalid UTF-8, what it is).
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string()), {}
    if _is_textual(kind):
        return _valid_strings(column)
    if pa.types.is_floating(kind):
        return pa.array([text_of(value) for value in column.to_pylist()], pa.string()), {}
    if pa.types.is_nested(kind):
        what = "an object" if pa.types.is_struct(kind) else "a list"
        present = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return pa.nulls(len(column), pa.string()), {int(i): (False, what) for i in present}
    return column.cast(pa.string()), {}


def _is_textual(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(test(kind) for test in tests)


def _valid_strings(column: pa.Array) -> tuple[pa.Array, dict[int, tuple[bool, str]]]:
    # through binary, because a file may call invalid bytes a string
    data = column.cast(pa.binary())
    try:
        return data.cast(pa.string()), {}
    except pa.ArrowInvalid:
        pass
    texts: list[str | None] = []
    bad: dict[int, tuple[bool, str]] = {}
    for index, value in enumerate(data.to_pylist()):
        try:
            texts.append(value if value is None else value.decode("utf-8"))
        except UnicodeDecodeError as error:
            texts.append(None)
            bad[index] = (True, str(error))
    return pa.array(texts, pa.string()), bad


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

    Among 100 million different texts the chance that any two share a hash is 3e-4.

    Args:
        texts: Shape (n,).
        salt: At most 16 ASCII characters; hashes under different salts have nothing in common.
    """
    blake2b, person = hashlib.blake2b, salt.encode("ascii")
    joined = b"".join(
        [blake2b(text.encode(), digest_size=8, person=person).digest() for text in texts]
    )
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)
