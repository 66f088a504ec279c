"""Cut files into units of reading of about the same size; one task reads a unit.

A big JSONL file is cut at byte offsets and a Parquet file between row groups. Small files are put
together. A CSV or compressed file, or a JSON array, can only be read from its beginning, so it is
one unit, however big: the other formats are better for a big corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.data.sources import SourceFile
from baldistill.errors import DataError

UNIT_BYTES = 32 << 20
"""Some 30,000 rows of a kilobyte take seconds. 100 GB are 3,000 units."""

_MAX_FILES_PER_UNIT = 256
_NUM_THREADS = 16


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a file.

    Attributes:
        file: Index of the file.
        size: Bytes, roughly.
        start: JSONL: first byte; Parquet: first row group.
        stop: JSONL: byte after the last; Parquet: row group after the last; None: to the end.
        first_row: Number of its first row or line in the file, 1-based.
    """

    file: int
    size: int
    start: int = 0
    stop: int | None = None
    first_row: int = 1


def plan_segments(files: Sequence[SourceFile], unit_bytes: int = UNIT_BYTES) -> list[Segment]:
    """Cut files into segments of about `unit_bytes`, in file order.

    `number_rows` sets the `first_row` of the segments of a JSONL file that has several.

    Raises:
        DataError: The footer of a Parquet file cannot be read.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        parts = pool.map(lambda file: _segments(file, unit_bytes), files)
        return [segment for part in parts for segment in part]


def _segments(file: SourceFile, unit_bytes: int) -> list[Segment]:
    if file.format == "parquet":
        return _row_group_segments(file, unit_bytes)
    in_one = file.format == "csv" or file.compression is not None or file.is_array
    if in_one or file.size <= unit_bytes * 3 // 2:
        return [Segment(file.index, file.size)]
    starts = range(0, file.size, unit_bytes)
    return [
        Segment(file.index, unit_bytes, start, min(start + unit_bytes, file.size))
        for start in starts
    ]


def _row_group_segments(file: SourceFile, unit_bytes: int) -> list[Segment]:
    try:
        with file.fs.open_input_file(file.path) as stream:
            footer = pq.ParquetFile(stream).metadata
            groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.shown}: not a readable Parquet file: {error}") from None
    segments: list[Segment] = []
    first_row = 1
    for index, (num_rows, num_bytes) in enumerate(sizes):
        last = segments[-1] if segments else None
        if last is not None and last.size + num_bytes <= unit_bytes:
            segments[-1] = replace(last, size=last.size + num_bytes, stop=index + 1)
        else:
            segments.append(Segment(file.index, num_bytes, index, index + 1, first_row))
        first_row += num_rows
    return segments


def segments_to_count(segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments whose lines must be counted: all but the last of each cut JSONL file."""
    return [
        segment
        for segment, following in pairwise(segments)
        if segment.file == following.file and segment.first_row == following.first_row
    ]


def number_rows(segments: Sequence[Segment], num_lines: dict[Segment, int]) -> list[Segment]:
    """Set `first_row` of the segments of cut JSONL files, by the counts of `segments_to_count`."""
    numbered: list[Segment] = []
    lines_before = 0
    for segment in segments:
        numbered.append(replace(segment, first_row=segment.first_row + lines_before))
        lines_before = lines_before + num_lines[segment] if segment in num_lines else 0
    return numbered


def group_segments(
    segments: Sequence[Segment], unit_bytes: int = UNIT_BYTES
) -> list[list[Segment]]:
    """Put small neighbours together: each list is one task's work."""
    units: list[list[Segment]] = []
    room = 0
    for segment in segments:
        if not units or segment.size > room or len(units[-1]) == _MAX_FILES_PER_UNIT:
            units.append([])
            room = unit_bytes
        units[-1].append(segment)
        room -= segment.size
    return units
