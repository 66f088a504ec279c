"""Temporary files that writers left behind when they were killed."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from baldistill.run_folder import layout
from baldistill.storage import Storage

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_OLD_SECONDS = 3600.0


def remove_leftovers(storage: Storage) -> None:
    """Remove the temporary files and folders of killed writers from a run folder.

    The caller holds the folder, so no other run writes there, but for the store of answers, which
    other runs may share: there a file is left over after an hour. Object stores have no such files.
    """
    if not storage.is_local:
        return
    shared = Path(storage.path(layout.RESPONSES))
    for folder, subfolders, files in os.walk(storage.root):
        inside_store = shared in (Path(folder), *Path(folder).parents)
        for name in filter(_TEMPORARY.fullmatch, [*files, *subfolders]):
            path = Path(folder, name)
            with suppress(OSError):  # of another run that ended its write, or a disk that fails
                if inside_store and time.time() - path.lstat().st_mtime < _OLD_SECONDS:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        subfolders[:] = [name for name in subfolders if not _TEMPORARY.fullmatch(name)]
