"""Folders that no other user of the machine can write to, or take the place of."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from baldistill.errors import UserError

_MODE = 0o700
_DAYS_KEPT = 14


def private_folder(path: Path, remedy: str) -> Path:
    """Create a folder for this user alone, or check that it is one; return its path.

    Args:
        path: The folder. Its parents are created as the system's defaults have it.
        remedy: What a user can do about a folder that is not private, for the message.

    Raises:
        UserError: The folder belongs to another user, others can write to it, or its name is
            taken by a link or a file.
        OSError: The folder cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=_MODE)
    except FileExistsError:
        if fault := _fault(path):
            raise UserError(f"{path} {fault}: {remedy}") from None
    return path


def user_cache() -> Path:
    """Return this user's folder for downloads: `$XDG_CACHE_HOME/baldistill`, private.

    A node of a cluster may have a home folder that cannot be written to. There it is a folder of
    this user's own in the temporary folder.

    Raises:
        UserError: Another user can write to it.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    remedy = "remove it, or set XDG_CACHE_HOME to a folder of your own"
    try:
        folder = private_folder(Path(home) / "baldistill", remedy)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # no home folder, or one that cannot be written to
        pass
    return private_folder(Path(tempfile.gettempdir()) / f"baldistill-{user_id()}", remedy)


def cached(key: str, download: Callable[[Path], None]) -> Path:
    """Return the copy of a folder in the user's cache; `download` fills a new one.

    A copy is seen when it is whole. Copies that nobody asked for in two weeks are removed.

    Raises:
        UserError: Another user can write to the cache.
    """
    models = user_cache() / "models"
    copy = models / key
    if copy.exists():
        with suppress(OSError):  # the time of its last use
            os.utime(copy)
        return copy
    models.mkdir(exist_ok=True)
    _remove_unused(models)
    temporary = models / f".{key}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        download(temporary)
        os.replace(temporary, copy)
    except OSError:
        if not copy.exists():
            raise
        # else another process of this machine was faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return copy


def _remove_unused(folder: Path) -> None:
    """Remove copies, and downloads that were killed, of long ago."""
    oldest = time.time() - _DAYS_KEPT * 24 * 3600
    for path in folder.iterdir():
        with suppress(OSError):  # another process removes it, too
            if path.lstat().st_mtime < oldest:
                shutil.rmtree(path)


def user_id() -> int:
    """Return the number of this process's user; 0 where the system has none."""
    return os.geteuid() if os.name == "posix" else 0


def _fault(path: Path) -> str | None:
    """Return why a folder is not private; None for one that is."""
    about = os.lstat(path)
    if stat.S_ISLNK(about.st_mode):
        return "is a link, which may lead to a folder of another user's"
    if not stat.S_ISDIR(about.st_mode):
        return "is a file, where a folder is needed"
    if os.name != "posix":
        return None
    if about.st_uid != user_id():
        return "belongs to another user, who could put other models into it"
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written to by other users (`chmod 700` mends that)"
    return None
