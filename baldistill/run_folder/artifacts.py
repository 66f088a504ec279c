"""The files that a marker vouches for: recorded when a step is committed, and compared later.

Of each file the marker holds its size, and of what is cheap to read back the CRC-32 of its content
and the rows of a Parquet file: on a disk that is every file, on an object store a small one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.storage import Storage

FILES, FOLDERS = "files", "folders"
"""The keys of a marker: what is recorded of each file; the folders that are read as a whole."""

_SMALL = 4 << 20  # bytes: read in some 5 ms
_CHUNK = 1 << 20
_READERS = 8  # zlib lets other threads run, and an object store takes long for each file
_TABLE = ".parquet"

Result = TypeVar("Result")


def record(storage: Storage, names: Sequence[str]) -> dict[str, Any]:
    """Return what a marker holds of these files and folders, by the names in the run folder."""
    found = {name: storage.files(name) for name in names}
    files = [file for below in found.values() for file in below]
    sizes = _sizes(storage, files)

    def describe(file: str) -> dict[str, Any]:
        about: dict[str, Any] = {"bytes": sizes[file]}
        if storage.is_local or sizes[file] <= _SMALL:
            about |= _rows(storage, file) | {"crc32": _checksum(storage, file)}
        return about

    folders = [name for name, below in found.items() if below != [name]]
    return {FILES: for_each(describe, files), FOLDERS: folders}


def differences(storage: Storage, marker: Mapping[str, Any], *, thorough: bool) -> dict[str, str]:
    """Return what is wrong with each file that a marker vouches for; nothing for those unchanged.

    Sizes are compared in one listing of each folder; with `thorough` also all content that was
    recorded, otherwise that of small files on a disk. A table that was added to a folder that is
    read as a whole counts as well. Other files that were added do not matter.
    """
    recorded: Mapping[str, Mapping[str, Any]] = marker.get(FILES, {})
    sizes = _sizes(storage, recorded, marker.get(FOLDERS, []))

    def compare(file: str) -> str | None:
        about = recorded[file]
        size = sizes.get(file)
        if size is None:
            return f"is missing: {_describe(about)} were committed"
        if size != about["bytes"]:
            found = {"bytes": size} | _rows(storage, file)
            return f"has {_describe(found)}, and {_describe(about)} were committed"
        if "crc32" in about and (thorough or (storage.is_local and size <= _SMALL)):
            try:
                checksum = _checksum(storage, file)
            except OSError as error:
                return f"cannot be read: {error}"
            if checksum != about["crc32"]:
                return (
                    f"has another content than was committed: its CRC-32 is {checksum}, not "
                    f"{about['crc32']}"
                )
        return None

    found = {file: problem for file, problem in for_each(compare, recorded).items() if problem}
    for file in sorted(sizes.keys() - recorded.keys()):
        folder, _, name = file.rpartition("/")
        if folder in marker.get(FOLDERS, []) and name.endswith(_TABLE):
            found[file] = f"was added later, and would be read as a part of {folder}/: move it away"
    return found


def for_each(function: Callable[[str], Result], names: Iterable[str]) -> dict[str, Result]:
    """Call a function on each name, several at a time; return the results in the same order."""
    names = list(names)
    with ThreadPoolExecutor(_READERS) as readers:
        return dict(zip(names, readers.map(function, names), strict=True))


def _sizes(storage: Storage, files: Iterable[str], folders: Iterable[str] = ()) -> dict[str, int]:
    """Return the sizes of files, and of all others that stand beside them."""
    parents = {file.rpartition("/")[0] for file in files} | set(folders)
    return {
        f"{parent}/{name}" if parent else name: size
        for parent, sizes in for_each(storage.sizes, sorted(parents)).items()
        for name, size in sizes.items()
    }


def _checksum(storage: Storage, file: str) -> str:
    """Return the CRC-32 of a file, which notices any changed byte; a gigabyte takes a second."""
    checksum = 0
    with storage.fs.open_input_stream(storage.path(file)) as stream:
        while chunk := stream.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return f"{checksum:08x}"


def _rows(storage: Storage, file: str) -> dict[str, int]:
    """Return the rows of a Parquet file, as its last bytes say; nothing for any other file."""
    if not file.endswith(_TABLE):
        return {}
    try:
        return {"rows": pq.read_metadata(storage.path(file), filesystem=storage.fs).num_rows}
    except (pa.ArrowException, OSError):
        return {}


def _describe(about: Mapping[str, Any]) -> str:
    rows = f" ({about['rows']:,} rows)" if "rows" in about else ""
    return f"{about['bytes']:,} bytes{rows}"
