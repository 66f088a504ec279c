"""Check format and columns at the beginning of each file, before anything is read."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from lzma import LZMAError
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.data.compression import ENDINGS, compression_of, open_stream
from baldistill.data.json_array import elements_of
from baldistill.data.sources import SourceFile
from baldistill.errors import DataError

_HEAD_BYTES = 64 << 10
_HEAD_LINES = 100
_NUM_THREADS = 16
_WITHOUT = {
    "answer": ", or data.columns.answer=null where there are none: examples/bare-questions.yaml "
    "has what goes with it",
    "domain": ", or data.columns.domain=null and data.domains={clusters: auto}, which makes them",
}
"""Tells, by our name of a column, how to do without it."""
_CHATS = frozenset({"messages", "conversations", "conversation", "chat", "dialog", "turns"})


def inspect_files(
    files: Sequence[SourceFile],
    columns: Mapping[str, str],
    *,
    mapped: bool = True,
    option: str | None = None,
) -> list[SourceFile]:
    """Check every file's beginning; return the files that are not empty.

    What is returned also knows how it is compressed, and whether it is a JSON array.
    `columns` maps our names to the user's; without `mapped`, no option can change the latter, and
    `option` is the one that can, if it is not in `data.columns`.

    Raises:
        DataError: A file cannot be opened, is of another format, or lacks a column.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        found = pool.map(lambda file: _inspect(file, columns, mapped, option), files)
        return [file for file in found if file is not None]


def _inspect(
    file: SourceFile, columns: Mapping[str, str], mapped: bool, option: str | None
) -> SourceFile | None:
    try:
        head = _read_head(file)
        if file.format != "parquet" and (compression := compression_of(head)):
            file = replace(file, compression=compression)
            head = _read_head(file)
        if not head.strip() and len(head) < _HEAD_BYTES:
            return None
        file = replace(file, is_array=file.format == "jsonl" and _is_array(head))
        check_format(head, file)
        names = _column_names(head, file)
    except (OSError, EOFError, LZMAError, pa.ArrowException) as error:
        raise DataError(f"{file.shown}: cannot be read: {error}") from None
    # a JSON object may lack choices, and the first objects may all lack them
    optional = {"choices"} if file.format == "jsonl" else set()
    if names is not None:
        required = {ours: theirs for ours, theirs in columns.items() if ours not in optional}
        check_columns(names, required, file.shown, mapped=mapped, option=option)
    return file


def _read_head(file: SourceFile) -> bytes:
    with open_stream(file.fs, file.path, file.compression) as stream:
        return bytes(stream.read(_HEAD_BYTES))


def check_format(head: bytes, file: SourceFile) -> None:
    """Compare the first bytes with the format.

    Raises:
        DataError: The file is of another kind; says which, and what to do.
    """
    if (file.format == "parquet") == head.startswith(b"PAR1"):
        problem = None if file.format == "parquet" else _not_text(head, file)
    elif file.format == "parquet":
        problem = f"is not a Parquet file (it begins with {head[:16]!r}); " + (
            _not_text(head, file) or "set data.format=jsonl or csv, or name it by its format"
        )
    else:
        problem = "is a Parquet file; set data.format=parquet or give it the ending .parquet"
    if problem:
        raise DataError(f"{file.shown}: {problem}")


def _not_text(head: bytes, file: SourceFile) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lowered = start[:200].lower()
    if lowered.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is an HTML or XML page, not data: was the download link to a web page?"
    if lowered.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the data: run `git lfs pull`"
    if head.startswith((b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"Rar!")):
        known = ", ".join(ENDINGS)
        return f"is a compressed archive: unpack it first (only {known} are read as they are)"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16 text: convert it to UTF-8 (`iconv -f UTF-16 -t UTF-8`)"
    if file.format == "csv" and isinstance(_parsed(start.partition(b"\n")[0]), dict):
        return "is JSON lines, not CSV: set data.format=jsonl or give it the ending .jsonl"
    if file.format == "jsonl" and not file.is_array and _is_one_document(start):
        return (
            "is one JSON document, neither one object a line nor an array of objects: convert it, "
            f"for example with `jq -c '.data[]' {file.shown} > corpus.jsonl`"
        )
    if head.count(b"\0") > len(head) // 5 or _share_invalid(head) > 0.3:
        return f"is binary data, not {file.format} text (it begins with {head[:16]!r})"
    return None


def _is_one_document(start: bytes) -> bool:
    """Return whether text begins like a JSON document over many lines, or a list of objects."""
    if not start.startswith((b"[", b"{")):
        return False
    lines = [line for line in start.split(b"\n")[:_HEAD_LINES] if line.strip()]
    first = _parsed(lines[0])
    if start.startswith(b"["):
        whole = isinstance(first, list) and not any(isinstance(item, dict) for item in first)
    else:
        whole = first is not None or lines[0].strip() != b"{"
    num_objects = sum(isinstance(_parsed(line), dict) for line in lines)
    return not whole and num_objects <= len(lines) // 2


def _is_array(head: bytes) -> bool:
    """Return whether text is one JSON array of objects."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start[:1] == b"[" and _is_one_document(start)


def _parsed(line: bytes) -> Any:
    """Return the JSON value of a line; None if it has none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _share_invalid(head: bytes) -> float:
    text = head.decode("utf-8", "replace")
    return text.count("\N{REPLACEMENT CHARACTER}") / max(len(text), 1)


def _column_names(head: bytes, file: SourceFile) -> list[str] | None:
    """Return the columns of a file; None if its beginning has no whole JSON object."""
    if file.format == "parquet":
        with file.fs.open_input_file(file.path) as stream:
            return list(pq.ParquetFile(stream).schema_arrow.names)
    if file.format == "csv":
        text = head.decode("utf-8-sig", "replace")
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=file.delimiter), [])
    names: dict[str, None] = {}
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")[:_HEAD_LINES]
    for value in elements_of(head) if file.is_array else map(_parsed, lines):
        if isinstance(value, dict):
            names |= dict.fromkeys(value)
    return list(names) or None


def check_columns(
    names: Sequence[str],
    required: Mapping[str, str],
    shown: str,
    *,
    mapped: bool = True,
    option: str | None = None,
) -> None:
    """Check that a file has the required columns.

    Raises:
        DataError: A column is missing; names the existing columns, the nearest and the config key.
    """
    for ours, theirs in required.items():
        if theirs in names:
            continue
        # most likely the user's column is called nearly as configured
        folded = {name.casefold(): name for name in reversed(names)}
        near = difflib.get_close_matches(theirs.casefold(), list(folded), 1, 0.6)
        hint = f"; did you mean `{folded[near[0]]}`?" if near else "."
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        example = folded[near[0]] if near else "NAME"
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            hint = "; its fields seem to be separated by another character than a comma."
        if ours == "question" and option is None and (chats := _CHATS.intersection(names)):
            hint = (
                f"; are there chats in `{min(chats)}`? Then set data.columns.messages={min(chats)}."
            )
        fix = (
            f"Set {option or f'data.columns.{ours}'}={example}"
            if mapped
            else f"Name it `{theirs}` in the file"
        )
        if mapped and option is None and not near:
            fix += _WITHOUT.get(ours, "")
        raise DataError(
            f"{shown}: no column `{theirs}` for the {ours}{hint} The columns are: {listed}. {fix}"
        )
