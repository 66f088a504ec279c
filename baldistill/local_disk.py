"""Writes on a local disk that survive a loss of power.

The content of a file survives when the file has been synced, its name when the folder has been that
holds it. So every write here syncs the file, then its folder, and the folders above it that the
write has made. What other processes wrote is synced by `sync_all` before anything relies on it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write a file, replacing another; readers see it whole or not at all."""
    make_folder(path.parent)
    with _written(path, data) as temporary:
        os.replace(temporary, path)
    sync(path.parent)


def create(path: Path, data: bytes) -> None:
    """Write a file unless there is one.

    If a file with just this content is there, this call counts as the one that wrote it.

    Raises:
        FileExistsError: There is another file.
        io.UnsupportedOperation: The disk has no hard links.
    """
    make_folder(path.parent)
    with _written(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            if path.read_bytes() != data:
                raise
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise io.UnsupportedOperation(f"no hard links at {path}") from None
            raise
    sync(path.parent)


def copy_folder(source: Path, path: Path) -> None:
    """Copy a folder to a path where nothing stands; readers see it whole or not at all."""
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        shutil.copytree(source, temporary)
        for copied in [*temporary.rglob("*"), temporary]:
            sync(copied)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there yet."""
    missing = []
    folder = path
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:  # which would say that `path` is taken
            raise NotADirectoryError(
                errno.ENOTDIR, "a file stands in the place of the folder", str(folder)
            ) from None
        sync(folder.parent)


def sync_all(root: Path, paths: Iterable[Path]) -> None:
    """Sync files and folders below `root`, all that is in them, and the folders above them.

    It does not matter which process of this machine wrote them. What another machine wrote to a
    shared disk has reached the disk's server when that machine closed the file (as on NFS), and is
    synced there as far as the server lets a client.
    """
    folders = {root.parent, root}
    for path in paths:
        if path.is_dir():
            for name, _, files in os.walk(path):
                folders.add(Path(name))
                for file in files:
                    sync(Path(name, file))
        elif path.exists():
            sync(path)
        folders.update(above for above in path.parents if root in above.parents)
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        sync(folder)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, survive a crash of the machine."""
    if os.name != "posix":  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """Return a name beside `path` that no reader of the folder takes for an artifact."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


@contextlib.contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """Write a temporary file beside a path, durably; remove it after the block."""
    temporary = temporary_beside(path)
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:  # a write that failed names no file
            error.filename = str(path)
            raise
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # of a disk that fails: the next run sweeps it
            temporary.unlink()
