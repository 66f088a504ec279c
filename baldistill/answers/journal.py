"""Journals: segments of the response store that engines write themselves.

An answer on its way from the engine to the driver would be lost, and paid again, if the processes
were killed. So the engine writes each answer the moment it has it, on a disk that all processes
see, as one line of a JSON-lines file. Each file has one writer, and each line is one write. A
reader ignores what follows the last line end: that line is being written, or its writer died.
"""

from __future__ import annotations

import errno
import json
import threading
import uuid
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from baldistill.answers.completion import Completion
from baldistill.errors import UserError
from baldistill.storage import sync

SUFFIX = ".jsonl"
_SEGMENT_BYTES = 1 << 20  # small, because a reader of one answer reads the whole file
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


class Journal:
    """The journals of one process. Call `append` from one thread, and `sync` from any."""

    def __init__(self, folder: str) -> None:
        """Remember the store's folder, which must exist; the first answer opens a file.

        A folder made here, on a machine that does not mount the driver's, would keep answers that
        nobody finds.
        """
        self._folder = Path(folder)
        self._segment = ""
        self._file: FileIO | None = None
        self._size = 0
        self._unsynced: set[Path] = set()
        self._syncing = threading.Lock()

    def append(self, completion: Completion) -> str:
        """Write an answer so that it outlives this process; return its segment.

        Raises:
            OSError: The answer could not be written; readers see nothing of it.
        """
        line = _ENCODE(completion.to_row()).encode("utf-8", "surrogatepass") + b"\n"
        if self._file is None or self._size >= _SEGMENT_BYTES:
            self._begin()
        assert self._file is not None
        written = self._file.write(line)
        if written < len(line):  # a further line would continue this one
            self.close()
            raise OSError(errno.ENOSPC, "an answer was cut", str(self._folder / self._segment))
        self._size += written
        self._unsynced.add(self._folder / self._segment)
        return self._segment

    def sync(self) -> None:
        """Make the appended answers outlive a crash of the machine, too.

        Threads that call while another one syncs wait, and then share one sync.

        Raises:
            UserError: The disk does not take the answers.
        """
        with self._syncing:
            while self._unsynced:
                path = self._unsynced.pop()
                try:
                    sync(path)
                except OSError as error:
                    self._unsynced.add(path)  # a waiting thread must get the error, too
                    raise UserError(
                        f"answers cannot be kept in {path}: {error}. Once that is mended, the "
                        "same command goes on from here"
                    ) from None

    def close(self) -> None:
        """Close the file; the next answer opens another."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self.close()
        self._segment = f"{uuid.uuid4().hex}{SUFFIX}"
        self._file = FileIO(self._folder / self._segment, "a")
        self._size = 0
        self._unsynced.add(self._folder)


def read_rows(journal: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of a journal, without the last line if that is not whole."""
    whole = journal[: journal.rfind(b"\n") + 1]
    return map(json.loads, whole.splitlines())
