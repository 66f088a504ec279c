"""Notes of the calls that are about to be sent, in the response store.

They tell the next start of a killed run which of the reserved calls were certainly not made. A
note is durable before its call is sent, so this also holds when the machine loses its power.
Calls that are ready at the same time share one sync.

A run that was suspended may go on after another one has taken its store. So where that can be, the
run looks whether it still holds the store when a note is written. Whoever takes the store reads the
notes after that: either it finds the note, or the call is not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from baldistill.answers.call_notes import CallNotes
from baldistill.answers.journal import Journal
from baldistill.errors import UserError
from baldistill.generation.types import Request
from baldistill.run_folder.lock import Hold
from baldistill.storage import Storage


class Notes:
    """The notes of one engine; use them in its event loop alone.

    Attributes:
        journal: Where they stand, beside the answers, if the store is on a disk.
    """

    def __init__(self, answers: Storage, hold: Hold | None = None) -> None:
        """Begin without a note in the folder of a response store, which this run may hold."""
        self._hold = hold
        self.journal = Journal(answers.path()) if answers.is_local else None
        self._book = self.journal or CallNotes(answers)
        self._noted: set[str] = set()  # calls that have not ended
        self._syncing: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def add(self, requests: Iterable[Request]) -> None:
        """Return when the calls of these requests are noted; a call is noted once.

        Raises:
            UserError: The store does not take the notes.
        """
        new = [r for r in requests if r.call and r.call not in self._noted]
        if not new:
            return
        try:
            for request in new:
                self._book.note(request.request_id, request.call)
        except OSError as error:
            raise UserError(
                f"cannot note in {self._book.folder} which calls are sent: {error}. Nothing is "
                "sent without: every node that asks must see the folder, and have room there"
            ) from None
        if self._next is None:
            self._next = asyncio.create_task(self._sync_after(self._syncing))
        await asyncio.shield(self._next)
        self._noted.update(request.call for request in new)

    def ended(self, request: Request) -> None:
        """Forget a call that has an answer, or has failed."""
        self._noted.discard(request.call)

    def close(self) -> None:
        """Close the journal."""
        if self.journal is not None:
            self.journal.close()

    async def _sync_after(self, current: asyncio.Task[None] | None) -> None:
        """Sync once, for all notes that were added until the sync before has ended."""
        if current is not None:
            await asyncio.wait([current])
        self._syncing, self._next = self._next, None
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        """Make the notes durable; then look whether this run may still send.

        Raises:
            UserError: The store does not take the notes, or another run has taken the store.
        """
        self._book.sync()
        if self._hold is not None:
            try:
                self._hold.check()
            except OSError as error:
                raise UserError(
                    f"cannot see whether this run still holds {self._book.folder}: {error}. "
                    "Nothing is sent without; once that is mended, the same command goes on"
                ) from None
