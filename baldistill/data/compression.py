"""Files that are compressed as a whole: known by their first bytes, read as a stream."""

from __future__ import annotations

import lzma
from typing import Any, Literal, TypeAlias

import pyarrow.fs as pafs

Compression: TypeAlias = Literal["gzip", "bz2", "zstd", "xz"]

ENDINGS = (".gz", ".bz2", ".zst", ".zstd", ".xz")
"""Endings of compressed files, which may follow the ending of a text file."""

_BEGINNINGS: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
}


def compression_of(head: bytes) -> Compression | None:
    """Tell by the first bytes of a file how it is compressed; None if it is not."""
    return next((kind for start, kind in _BEGINNINGS.items() if head.startswith(start)), None)


def open_stream(fs: pafs.FileSystem, path: str, compression: Compression | None) -> Any:
    """Open a file as a stream of bytes, unpacked while it is read."""
    if compression != "xz":
        return fs.open_input_stream(path, compression=compression)
    return lzma.LZMAFile(fs.open_input_stream(path, compression=None))  # Arrow has no xz
