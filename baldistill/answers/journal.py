"""Answers written down by the process that receives them, the moment it has them.

What is on its way to whoever keeps the accounts would be lost, and paid again, when the processes
are killed. So the engine writes each answer itself, on a disk that all see, as a line of a
segment of the response store (`teacher.store`): one write for one line, each segment with one
writer. A reader takes a segment up to its last line end: what follows is being written, or was
when its writer died.
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
from baldistill.records import STORED
from baldistill.storage import sync

SUFFIX = ".jsonl"
_SEGMENT_BYTES = 1 << 20  # whoever wants some answers of a segment reads all of it
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


class Journal:
    """The segments that one process writes. `append` is for one thread, `sync` for any."""

    def __init__(self, folder: str) -> None:
        """Write nothing yet.

        Args:
            folder: Of the response store. It must be there: one that only this machine has, where
                the driver's is not mounted, would keep answers that nobody finds.
        """
        self._folder = Path(folder)
        self._segment = ""
        self._file: FileIO | None = None
        self._size = 0
        self._unsynced: set[Path] = set()
        self._syncing = threading.Lock()

    def append(self, completion: Completion) -> str:
        """Write an answer so that it outlives this process; returns its segment.

        Raises:
            OSError: It could not be written; readers see nothing of it.
        """
        line = _ENCODE(row_of(completion)).encode("utf-8", "surrogatepass") + b"\n"
        if self._file is None or self._size >= _SEGMENT_BYTES:
            self._begin()
        assert self._file is not None
        written = self._file.write(line)
        if written < len(line):  # what follows would be a part of this line
            self.close()
            raise OSError(errno.ENOSPC, "an answer was cut", str(self._folder / self._segment))
        self._size += written
        self._unsynced.add(self._folder / self._segment)
        return self._segment

    def sync(self) -> None:
        """Make what was appended outlive a crash of the machine, too.

        Threads that come while another is at it wait, and then share one turn.

        Raises:
            UserError: The disk does not take it.
        """
        with self._syncing:
            while self._unsynced:
                path = self._unsynced.pop()
                try:
                    sync(path)
                except OSError as error:
                    self._unsynced.add(path)  # for those who wait it is not on the disk either
                    raise UserError(
                        f"answers cannot be kept in {path}: {error}. Once that is mended, the "
                        "same command goes on from here"
                    ) from None

    def close(self) -> None:
        """End the segment."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self.close()
        self._segment = f"{uuid.uuid4().hex}{SUFFIX}"
        self._file = FileIO(self._folder / self._segment, "a")
        self._size = 0
        self._unsynced.add(self._folder)


def row_of(completion: Completion) -> dict[str, Any]:
    """What the store keeps of an answer: a row of `records.STORED`."""
    return {name: getattr(completion, name) for name in STORED.names}


def rows_in(segment: bytes) -> Iterator[dict[str, Any]]:
    """The rows of a segment, maybe of one that is being written."""
    whole = segment[: segment.rfind(b"\n") + 1]
    return map(json.loads, whole.splitlines())
