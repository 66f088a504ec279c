"""The log of a run folder, on a disk or on an object store."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from baldistill.masking import masked_text
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.visible import visible_lines

_SAVE_EVERY = 10.0


class RunLog:
    """Appends lines with their time to `log.txt`; a resumed run appends to the same file.

    A message of several lines is indented from its second line on. So only a message of ours can
    begin a line of the log, whatever the text of users and servers is.

    Nothing can be appended to an object of a store. There the whole log is written again ten
    seconds after a new line, and at the end. A killed run loses the lines of its last ten seconds.
    """

    def __init__(self, storage: Storage) -> None:
        """Read the log of an earlier start, where the log is written whole."""
        self._storage = storage
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._text = ""
        if not storage.is_local and storage.exists(layout.LOG):
            self._text = storage.read_text(layout.LOG)

    def write(self, text: str) -> None:
        """Append a message, without the secrets in it."""
        indented = visible_lines(masked_text(text)).replace("\n", "\n    ")
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {indented}\n"
        if self._storage.is_local:
            with Path(self._storage.path(layout.LOG)).open("a", encoding="utf-8") as file:
                file.write(line)
            return
        with self._lock:
            self._text += line
            if self._timer is None:
                self._timer = threading.Timer(_SAVE_EVERY, self._save_later)
                self._timer.daemon = True
                self._timer.start()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the lines that are not written yet."""
        with self._lock:
            if self._timer is None:
                return
            self._timer.cancel()
            self._timer = None
            self._storage.write_text(layout.LOG, self._text)

    def _save_later(self) -> None:
        with self._lock:
            if self._timer is None:  # closed meanwhile
                return
            self._timer = None
            with suppress(OSError):  # a log must not end a run; the next line tries again
                self._storage.write_text(layout.LOG, self._text)
