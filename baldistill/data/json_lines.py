"""Parse a block of whole JSON lines: by Arrow if all is well, else line by line.

Arrow's reader is ten times as fast as Python's, but it rejects a whole block and does not say
which line an object came from. So a block goes to Arrow only if each line provably holds one
object. A block that Arrow rejects is halved until the bad lines are alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pj

from baldistill.data.chats import MESSAGES, as_text
from baldistill.data.choices import read_choices
from baldistill.data.gold_answers import (
    ALTERNATIVES,
    LIST,
    first_answer,
    further_answers,
    split_lists,
)
from baldistill.data.rows import BadRow, RawBlock, Reason, cut
from baldistill.data.text import NotTextError, text_of

_FEW_LINES = 64
_FAST_TYPES: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}


def parse_lines(data: bytes, first_row: int, columns: Mapping[str, str]) -> Iterator[RawBlock]:
    """Parse whole lines in order; blank lines are no rows, but count as lines.

    The last line may lack its newline. `first_row` is the number of the first line in its file,
    1-based. `columns` maps our names to keys of the objects.
    """
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0x0A) + 1
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    bounds = np.concatenate([[0], ends]).astype(np.int32)
    yield from _parse(data, bounds, first_row, columns)


def _parse(
    data: bytes, bounds: npt.NDArray[np.int32], first_row: int, columns: Mapping[str, str]
) -> Iterator[RawBlock]:
    """Parse the lines data[bounds[i]:bounds[i+1]] by Arrow, else by halves."""
    num_lines = len(bounds) - 1
    if num_lines == 0:
        return
    block = _parse_fast(data, bounds, first_row, columns)
    if block is not None:
        yield block
    elif num_lines <= _FEW_LINES or not _can_be_fast(data, bounds, columns):
        yield _parse_slowly(data, bounds, first_row, columns)
    else:
        half = num_lines // 2
        yield from _parse(data, bounds[: half + 1], first_row, columns)
        yield from _parse(data, bounds[half:], first_row + half, columns)


def _can_be_fast(data: bytes, bounds: npt.NDArray[np.int32], columns: Mapping[str, str]) -> bool:
    """Return whether halving is worth it: whether Arrow could read most of eight sampled lines."""
    picked = np.linspace(0, len(bounds) - 2, num=8, dtype=np.int64)
    lines = [data[bounds[i] : bounds[i + 1]] for i in picked]
    return sum(_schema(line, columns) is not None for line in lines) > len(lines) // 2


def _parse_fast(
    data: bytes, bounds: npt.NDArray[np.int32], first_row: int, columns: Mapping[str, str]
) -> RawBlock | None:
    start, stop, num_lines = int(bounds[0]), int(bounds[-1]), len(bounds) - 1
    part = memoryview(data)[start:stop]
    schema = _schema(data[start : bounds[1]], columns)
    if schema is None or not _one_object_a_line(data, bounds):
        return None
    try:
        str(part, "utf-8")
        table = pj.read_json(
            pa.BufferReader(pa.py_buffer(part)),
            read_options=pj.ReadOptions(use_threads=False, block_size=stop - start + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return None
    if table.num_rows != num_lines:
        return None
    arrays = {ours: _one_chunk(table[theirs]) for ours, theirs in columns.items()}
    choices = arrays.pop("choices", None)
    if choices is not None and choices.values.null_count:
        return None
    extra: dict[str, pa.Array] = {}
    if (lists := arrays.pop(ALTERNATIVES, None)) is not None and lists.type == LIST:
        answers = split_lists(lists)
        if answers is None:
            return None
        arrays["answer"], extra[ALTERNATIVES] = answers
    raw = pa.BinaryArray.from_buffers(
        pa.binary(), num_lines, [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    )
    rows = np.arange(first_row, first_row + num_lines)
    texts = {name: array.cast(pa.string()) for name, array in arrays.items()}
    return RawBlock(rows, texts, choices, raw, extra=extra)


def _schema(line: bytes, columns: Mapping[str, str]) -> pa.Schema | None:
    """Return the Arrow types of the wanted keys in one line; None if Arrow cannot read the line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if MESSAGES in columns:
        return None
    types: dict[str, pa.DataType] = {}
    for ours, theirs in columns.items():
        is_list = ours == "choices" or (
            ours in ("answer", ALTERNATIVES)
            and ALTERNATIVES in columns
            and isinstance(value.get(theirs), list)
        )
        found = LIST if is_list else _FAST_TYPES.get(type(value.get(theirs)))
        if found is None or types.get(theirs, found) != found:
            return None
        types[theirs] = found
    return pa.schema(list(types.items()))


def _one_object_a_line(data: bytes, bounds: npt.NDArray[np.int32]) -> bool:
    """Return whether each line begins with `{` and ends with `}`.

    If such a block parses as exactly as many objects as it has lines, each line is one object.
    JSON allows no raw line end within a string, and within an object or a list a comma stands
    between a `}` and the next `{`.
    """
    codes = np.frombuffer(data, np.uint8)
    firsts, lasts = bounds[:-1], bounds[1:] - 1
    if (codes[firsts] != 0x7B).any():
        return False
    for end in (0x0A, 0x0D):
        # an object has at least two characters, so this stays within its line
        lasts = lasts - (codes[lasts] == end)
    return bool((codes[lasts] == 0x7D).all())


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _parse_slowly(
    data: bytes, bounds: npt.NDArray[np.int32], first_row: int, columns: Mapping[str, str]
) -> RawBlock:
    rows: list[int] = []
    lines: list[bytes] = []
    values: dict[str, list[Any]] = {name: [] for name in columns}
    bad: list[BadRow] = []
    readers = readers_of(columns)
    for row, (start, stop) in enumerate(pairwise(bounds), first_row):
        line = data[start:stop]
        if not line.strip():
            continue
        found = parse_line(line, row, columns, readers)
        if isinstance(found, BadRow):
            bad.append(found)
            continue
        rows.append(row)
        lines.append(line)
        for name, value in found.items():
            values[name].append(value)
    choices = values.pop("choices", None)
    extra = {name: pa.array(values.pop(name), LIST) for name in values.keys() & {ALTERNATIVES}}
    return RawBlock(
        np.array(rows, np.int64),
        {name: pa.array(column, pa.string()) for name, column in values.items()},
        None if choices is None else pa.array(choices, pa.list_(pa.string())),
        pa.array(lines, pa.binary()),
        bad,
        {name: column for name, column in extra.items() if column.null_count < len(column)},
    )


def readers_of(columns: Mapping[str, str]) -> dict[str, Callable[[Any], Any]]:
    """Return what reads a value, by our name of the column."""
    readers: dict[str, Callable[[Any], Any]] = dict.fromkeys(columns, text_of)
    if ALTERNATIVES in columns:
        readers |= {"answer": first_answer, ALTERNATIVES: further_answers}
    special = {"choices": read_choices, MESSAGES: as_text}
    return readers | {name: read for name, read in special.items() if name in columns}


def parse_line(
    line: bytes, row: int, columns: Mapping[str, str], readers: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any] | BadRow:
    """Parse a line to our name -> text (`choices` and such: a list of them), or to a bad row.

    `columns` maps our names to keys of the object, `readers` to what reads a value.
    """

    def bad(reason: Reason, detail: str) -> BadRow:
        return BadRow(row, reason, detail, cut(line.decode("utf-8", "replace")))

    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return bad("invalid_utf8", str(error))
    except (ValueError, RecursionError) as error:
        return bad("malformed_json", str(error))
    if not isinstance(value, dict):
        return bad("not_an_object", f"a JSON {type(value).__name__}, not an object")
    found: dict[str, Any] = {}
    for ours, theirs in columns.items():
        try:
            found[ours] = readers[ours](value.get(theirs))
            json.dumps(found[ours], ensure_ascii=False).encode("utf-8")
        except NotTextError as error:
            return bad("wrong_type", f"`{theirs}` is {error}")
        except UnicodeEncodeError:
            return bad("invalid_utf8", f"`{theirs}` holds half of a surrogate pair")
    return found
