"""Whole lines of a byte range of a file, in bounded blocks.

A line belongs to the range in which its first byte lies. So ranges that cover a file give each
line exactly once, wherever the file is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from baldistill.errors import DataError

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 64 << 20


def line_blocks(
    stream: IO[bytes], start: int, stop: int | None, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Yield the lines that begin at the bytes [start, stop), in blocks of about `block_bytes`.

    The stream is at its beginning if `start` is 0; else it must be seekable. Without `stop` the
    range goes to the end of the file.

    Raises:
        DataError: A line is longer than 64 MiB.
    """
    begin = start and _first_line_begin(stream, start, block_bytes)
    pending = b""
    while stop is None or begin < stop:
        chunk = stream.read(block_bytes)
        if not chunk:
            if pending:
                yield pending
            return
        data = pending + chunk
        last = stop is not None and begin + len(data) >= stop
        if last:
            assert stop is not None
            end = data.find(b"\n", stop - 1 - begin) + 1
        else:
            end = data.rfind(b"\n") + 1
        if end:
            yield data[:end]
            if last:
                return
        elif len(data) > MAX_LINE_BYTES:
            raise DataError(f"the line that begins at byte {begin} is longer than 64 MiB")
        pending = data[end:]
        begin += end


def _first_line_begin(stream: IO[bytes], start: int, block_bytes: int) -> int:
    """Move the stream to the first line that begins at `start` or later; return its offset."""
    offset = start - 1
    stream.seek(offset)
    while chunk := stream.read(block_bytes):
        found = chunk.find(b"\n")
        if found >= 0:
            offset += found + 1
            stream.seek(offset)
            return offset
        offset += len(chunk)
    return offset


def count_lines(stream: IO[bytes], start: int, stop: int | None) -> int:
    """Count the lines that begin in [start, stop), blank ones included."""
    return sum(
        block.count(b"\n") + (not block.endswith(b"\n"))
        for block in line_blocks(stream, start, stop)
    )
