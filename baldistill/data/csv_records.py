"""CSV and TSV with a header line, as a stream of records.

Read by the standard library's parser: it alone keeps the number of each record exact across
quoted line ends and malformed records, at some 300,000 records a second.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import IO

import numpy as np
import pyarrow as pa

from baldistill.data.json_lines import choices_of
from baldistill.data.rows import BadRow, RawBlock, Reason, cut
from baldistill.data.text import NotTextError

_BLOCK_RECORDS = 1024
_MAX_FIELD_CHARS = 1 << 20


def csv_blocks(stream: IO[bytes], delimiter: str, columns: Mapping[str, str]) -> Iterator[RawBlock]:
    """Yield the records of a file.

    A quote that is never closed swallows what follows it, up to a million characters: that is
    one record, `malformed_csv` or `wrong_field_count`; reading goes on after it.

    Args:
        stream: The (decompressed) bytes of the file.
        delimiter: Separates the fields.
        columns: Our name -> column in the header.
    """
    csv.field_size_limit(_MAX_FIELD_CHARS)
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, delimiter=delimiter)
    header = next(reader, [])
    where = {ours: header.index(theirs) for ours, theirs in columns.items()}
    numbered = enumerate(_records(reader), start=1)
    while records := list(islice(numbered, _BLOCK_RECORDS)):
        yield _block(records, where, header, delimiter)


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """The records that are not blank lines; for a malformed one, its error."""
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error
            continue
        if record:
            yield record


def _block(
    records: Sequence[tuple[int, list[str] | csv.Error]],
    where: Mapping[str, int],
    header: Sequence[str],
    delimiter: str,
) -> RawBlock:
    good: list[tuple[int, list[str]]] = []
    choices: list[list[str] | None] = []
    bad: list[BadRow] = []
    for row, record in records:
        problem = _problem(record, header)
        if problem is None and "choices" in where:
            assert isinstance(record, list)
            try:
                choices.append(_choices(record[where["choices"]]))
            except NotTextError as error:
                problem = "wrong_type", f"`{header[where['choices']]}` is {error}"
        if problem is None:
            assert isinstance(record, list)
            good.append((row, record))
        else:
            content = delimiter.join(record) if isinstance(record, list) else ""
            bad.append(BadRow(row, *problem, cut(content)))
    fields = {
        name: pa.array([record[place] for _, record in good], pa.string())
        for name, place in where.items()
        if name != "choices"
    }
    shown = pa.array(choices, pa.list_(pa.string())) if "choices" in where else None
    return RawBlock(np.array([row for row, _ in good], np.int64), fields, shown, None, bad)


def _problem(record: list[str] | csv.Error, header: Sequence[str]) -> tuple[Reason, str] | None:
    if isinstance(record, csv.Error):
        return "malformed_csv", f"{record}; is a quote never closed?"
    if len(record) != len(header):
        return "wrong_field_count", f"{len(record)} fields, the header has {len(header)}"
    line = "".join(record)
    if not line.isascii():
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(line[error.start]) - 0xDC00
            return "invalid_utf8", f"byte 0x{code:02x} is not valid UTF-8 there"
    return None


def _choices(cell: str) -> list[str] | None:
    """Choices in a cell: a JSON list."""
    if not cell.strip():
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        raise NotTextError('no JSON list such as ["red", "blue"]') from None
    return choices_of(value)
