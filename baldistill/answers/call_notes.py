"""Notes of the calls that are about to be sent, where the response store is on no disk.

On a disk they stand in the journals, a line each. An object cannot grow, so here the notes of a
fifth of a second become one small object.
"""

from __future__ import annotations

import time
import uuid

from baldistill.answers.journal import call_line
from baldistill.errors import UserError
from baldistill.storage import Storage

SUFFIX = ".calls"
_EVERY_S = 0.2


class CallNotes:
    """The notes of one process. Call `note` from one thread, and `sync` from one at a time.

    Attributes:
        folder: Where they stand.
    """

    def __init__(self, storage: Storage) -> None:
        """Begin without a note."""
        self.folder = storage.uri
        self._storage = storage
        self._waiting: list[bytes] = []
        self._next = 0.0

    def note(self, request_id: str, call: str) -> None:
        """Note that a call is about to be sent; `sync` before sending it."""
        self._waiting.append(call_line(request_id, call))

    def sync(self) -> None:
        """Write the notes; return when the store has them.

        Raises:
            UserError: The store does not take them.
        """
        time.sleep(max(0.0, self._next - time.monotonic()))
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        try:
            self._storage.write_bytes(f"{uuid.uuid4().hex}{SUFFIX}", b"".join(lines))
        except OSError as error:
            raise UserError(
                f"cannot note in {self.folder} which calls are sent: {error}. Nothing is sent "
                "without; once that is mended, the same command goes on from here"
            ) from None
        self._next = time.monotonic() + _EVERY_S
