"""The reading pass: stage a unit of files as parts, with bad rows in the quarantine folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.config import DataConfig
from baldistill.data.chats import with_chats
from baldistill.data.compression import open_stream
from baldistill.data.csv_records import csv_blocks
from baldistill.data.hub import is_of_the_network
from baldistill.data.json_array import array_as_lines
from baldistill.data.json_lines import parse_lines
from baldistill.data.lines import count_lines, line_blocks
from baldistill.data.parquet_rows import parquet_blocks
from baldistill.data.rows import RawBlock, mapped_columns
from baldistill.data.sources import SourceFile
from baldistill.data.staged_part import PartWriter, ReadReport
from baldistill.data.units import Segment
from baldistill.data.validate import check
from baldistill.errors import DataError
from baldistill.storage import Storage

PART_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The files by index, the segments that each task reads, and the config.

    `references` are the further files of `data.decontaminate`, which are no part of the corpus.
    """

    files: Mapping[int, SourceFile]
    units: Sequence[Sequence[Segment]]
    config: DataConfig
    references: Sequence[SourceFile] = ()


def count_segment(file: SourceFile, segment: Segment) -> int:
    """Count the lines of a segment of a JSONL file."""
    with file.fs.open_input_file(file.path) as stream:
        return count_lines(stream, segment.start, segment.stop)


def read_unit(plan: ReadPlan, storage: Storage, unit: int) -> Iterator[ReadReport]:
    """Read, validate and stage a unit; memory is bounded by a block.

    Yields:
        The report of each part. A file that the user must mend ends the unit with a report whose
        `error` says so; an exception would arrive wrapped in the traces of Ray.
    """
    part = 0
    writer = PartWriter(storage, _name(unit, part))
    try:
        for segment in plan.units[unit]:
            file = plan.files[segment.file]
            for block in readable_blocks(file, segment, mapped_columns(plan.config, file.role)):
                block = with_chats(block, plan.config, file.role)
                staged, bad = check(block, plan.config, file.role, file.index)
                writer.write(staged, bad, file.shown)
                if writer.report.num_read >= PART_ROWS:
                    yield writer.close()
                    part += 1
                    writer = PartWriter(storage, _name(unit, part))
    except DataError as error:
        yield ReadReport(_name(unit, part), error=str(error))
    else:
        yield writer.close()


def _name(unit: int, part: int) -> str:
    return f"{unit:06d}-{part:04d}"


def readable_blocks(
    file: SourceFile, segment: Segment, columns: Mapping[str, str]
) -> Iterator[RawBlock]:
    """Yield the blocks of a segment; a failure to read is an error that the user can mend."""
    try:
        yield from _blocks(file, segment, columns)
    except FileNotFoundError:
        raise DataError(
            f"{file.shown}: a worker cannot see this file; on a cluster, put the corpus on "
            "storage that every node sees (s3://, gs://, a shared mount)"
        ) from None
    except (DataError, OSError, EOFError, LZMAError, pa.ArrowException) as error:
        raise DataError(
            f"{file.shown}: cannot be read: {error}; write or download the file again"
        ) from None
    except Exception as error:
        if not is_of_the_network(error):
            raise
        raise DataError(
            f"{file.shown}: cannot be read: {type(error).__name__}: {error}; try again"
        ) from None


def _blocks(file: SourceFile, segment: Segment, columns: Mapping[str, str]) -> Iterator[RawBlock]:
    if file.format == "parquet":
        with file.fs.open_input_file(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            stop = parquet.num_row_groups if segment.stop is None else segment.stop
            groups = range(segment.start, stop)
            yield from parquet_blocks(parquet, groups, segment.first_row, columns)
    elif file.format == "csv":
        with _stream(file, segment) as stream:
            yield from csv_blocks(stream, file.delimiter, columns)
    else:
        with _stream(file, segment) as stream:
            row = segment.first_row
            blocks = (
                array_as_lines(stream)
                if file.is_array
                else line_blocks(stream, segment.start, segment.stop)
            )
            for data in blocks:
                num_lines = data.count(b"\n")
                if row == 1:
                    data = data.removeprefix(b"\xef\xbb\xbf")
                yield from parse_lines(data, row, columns)
                row += num_lines


def _stream(file: SourceFile, segment: Segment) -> Any:
    if segment.start:
        return file.fs.open_input_file(file.path)
    return open_stream(file.fs, file.path, file.compression)
