"""Journals: segments of the response store that engines write themselves.

An answer on its way from the engine to the driver would be lost, and paid again, if the processes
were killed. So the engine writes each answer the moment it has it, on a disk that all processes
see, as one line of a JSON-lines file. Before that, it notes in the same file that it is about to
send the call. So after a crash it is known which calls were certainly not made.

Each file has one writer, and each line is one write. A reader ignores what follows the last line
end: that line is being written, or its writer died. It also ignores damaged lines: a crash of the
machine leaves such lines where the writer had not synced yet, and nobody relies on a line before
it is synced.
"""

from __future__ import annotations

import errno
import threading
import uuid
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from baldistill.answers.completion import Completion
from baldistill.core.checked_lines import from_line, to_line
from baldistill.errors import UserError
from baldistill.local_disk import sync

SUFFIX = ".jsonl"
_SEGMENT_BYTES = 1 << 20  # small, because a reader of one answer reads the whole file
_CALL = "call"  # a key that only the notes of calls have


class Journal:
    """The journals of one process. Call `append` and `note` from one thread, and `sync` from any.

    Attributes:
        folder: Where they stand.
    """

    def __init__(self, folder: str) -> None:
        """Remember the store's folder, which must exist; the first answer opens a file.

        A folder made here, on a machine that does not mount the driver's, would keep answers that
        nobody finds.
        """
        self.folder = Path(folder)
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
        return self._write(to_line(completion.to_row()))

    def note(self, request_id: str, call: str) -> None:
        """Note that a call is about to be sent; `sync` before sending it.

        Raises:
            OSError: The note could not be written.
        """
        self._write(call_line(request_id, call))

    def _write(self, line: bytes) -> str:
        if self._file is None or self._size >= _SEGMENT_BYTES:
            self._begin()
        assert self._file is not None
        written = self._file.write(line)
        if written < len(line):  # a further line would continue this one
            self.close()
            raise OSError(errno.ENOSPC, "a line was cut", str(self.folder / self._segment))
        self._size += written
        self._unsynced.add(self.folder / self._segment)
        return self._segment

    def sync(self) -> None:
        """Make the appended lines outlive a crash of the machine, too.

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
        self._file = FileIO(self.folder / self._segment, "a")
        self._size = 0
        self._unsynced.add(self.folder)


def call_line(request_id: str, call: str) -> bytes:
    """Return the note of a call."""
    return to_line({"request_id": request_id, _CALL: call})


def read_rows(journal: bytes) -> Iterator[dict[str, Any]]:
    """Yield the answers in a journal, as rows."""
    return (record for record in _records(journal) if _CALL not in record)


def read_calls(journal: bytes) -> Iterator[tuple[str, str]]:
    """Yield the request id and the name of each call that may have been sent."""
    return ((r["request_id"], r[_CALL]) for r in _records(journal) if _CALL in r)


def _records(journal: bytes) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a journal."""
    for line in journal[: journal.rfind(b"\n") + 1].split(b"\n")[:-1]:
        try:
            yield from_line(line)
        except ValueError:
            continue
