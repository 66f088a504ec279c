"""Read the wanted columns of some row groups of a Parquet file, in bounded blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.data.chats import MESSAGES, as_text
from baldistill.data.choices import read_choices
from baldistill.data.gold_answers import ALTERNATIVES, LIST, read_lists, split_lists
from baldistill.data.rows import BadRow, RawBlock
from baldistill.data.text import Problem, column_text, read_each

_MAX_BLOCK_ROWS = 8192
_BLOCK_BYTES = 16 << 20


def parquet_blocks(
    file: pq.ParquetFile, row_groups: Sequence[int], first_row: int, columns: Mapping[str, str]
) -> Iterator[RawBlock]:
    """Yield the rows of consecutive row groups; `first_row` is the 1-based number of the first.

    `columns` maps our names to those of the file.
    """
    wanted = sorted(set(columns.values()))
    groups = [file.metadata.row_group(index) for index in row_groups]
    num_rows = sum(group.num_rows for group in groups)
    row_bytes = sum(group.total_byte_size for group in groups) // max(num_rows, 1)
    block_rows = min(max(_BLOCK_BYTES // max(row_bytes, 1), 64), _MAX_BLOCK_ROWS)
    for batch in file.iter_batches(
        block_rows, row_groups=list(row_groups), columns=wanted, use_threads=False
    ):
        yield _block(batch, first_row, columns)
        first_row += batch.num_rows


def _block(batch: pa.RecordBatch, first_row: int, columns: Mapping[str, str]) -> RawBlock:
    texts: dict[str, pa.Array] = {}
    problems: dict[int, Problem] = {}
    choices: pa.Array | None = None
    extra: dict[str, pa.Array] = {}
    for ours, theirs in columns.items():
        column = batch.column(theirs)
        if ours == "choices":
            choices, wrong = _choices(column)
        elif ours == MESSAGES and pa.types.is_nested(column.type):
            chats, wrong = read_each(column, as_text)
            texts[ours] = pa.array(chats, pa.string())
        elif ours == ALTERNATIVES:
            continue  # read with the answer
        elif ours == "answer" and ALTERNATIVES in columns and _is_list(column):
            texts[ours], extra[ALTERNATIVES], wrong = _answers(column)
        else:
            texts[ours], wrong = column_text(column)
        for index, (reason, what) in wrong.items():
            problems.setdefault(index, (reason, f"`{theirs}` is {what}"))
    block = RawBlock(np.arange(first_row, first_row + batch.num_rows), texts, choices, extra=extra)
    if not problems:
        return block
    bad = [
        BadRow(first_row + index, reason, detail, block.content(index))
        for index, (reason, detail) in sorted(problems.items())
    ]
    good = np.setdiff1d(np.arange(batch.num_rows), np.fromiter(problems, np.int64))
    return RawBlock(
        block.rows[good],
        {name: column.take(pa.array(good)) for name, column in texts.items()},
        None if choices is None else choices.take(pa.array(good)),
        None,
        bad,
        {name: column.take(pa.array(good)) for name, column in extra.items()},
    )


def _is_list(column: pa.Array) -> bool:
    kind = column.type
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _answers(column: pa.Array) -> tuple[pa.Array, pa.Array, dict[int, Problem]]:
    """Return the first and the further texts of lists of answers, and what is wrong with some."""
    if column.type == LIST:
        try:
            column.validate(full=True)
            found = split_lists(column)
        except pa.ArrowInvalid:
            found = None
        if found is not None:
            return *found, {}
    return read_lists(column)


def _choices(column: pa.Array) -> tuple[pa.Array, dict[int, Problem]]:
    kind = pa.list_(pa.string())
    if column.type == kind and not column.values.null_count:
        try:
            column.validate(full=True)
            return column, {}
        except pa.ArrowInvalid:
            pass
    lists, problems = read_each(column, read_choices)
    return pa.array(lists, kind), problems
