"""One run at a time in a run folder.

On a local disk the run at work holds the system's file lock, which is freed when its process ends,
however it ends.

An object store has no locks. There each run writes a small object, its sign of life, into `_lock/`,
and writes it again every five seconds. A newcomer writes its own before it lists the others, so of
two newcomers at least one sees the other.

- An owner is alive if its sign of life changes. The newcomer then gives up with an error.
- An owner is dead if it ran on this machine and its process is gone (seen at once), or if its sign
  of life does not change for a minute. No clocks are compared.
- Of two newcomers, the one with the smaller name goes first.
- A newcomer deletes the sign of life of a dead owner. An owner that was only slow finds its sign
  gone, and stops before its next commit.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from baldistill.errors import FolderInUseError, UserError
from baldistill.processes import ProcessId
from baldistill.run_folder import layout
from baldistill.storage import Storage

_UNKNOWN: dict[str, Any] = {
    **{"user": "someone", "host": "some host", "pid": 0, "since": "some time"},
    **{"machine": None, "started": None, "state": "holds"},
}
_lost: set[str] = set()
"""URIs of the folders that another run has taken from this process."""


@contextmanager
def only_run_in(
    storage: Storage,
    say: Callable[[str], None] = lambda text: None,
    *,
    beat: float = 5.0,
    silence: float = 60.0,
) -> Iterator[None]:
    """Hold the run folder until the block ends; `say` what this run waits for.

    An owner writes its sign of life every `beat` seconds, and counts as dead after `silence`
    seconds without a change.

    Raises:
        UserError: Another run is at work there, or the storage cannot be written to.
    """
    if storage.is_local and os.name == "posix":
        with _flock(storage):
            yield
        return
    presence = _Presence(storage, beat, silence)
    try:
        presence.acquire(say)
    except OSError as error:
        raise UserError(
            f"cannot write to {storage.uri}: {error}. Check that the bucket exists, and the "
            "credentials in the environment"
        ) from None
    stop = threading.Event()
    beating = threading.Thread(target=presence.keep, args=(stop,), daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        presence.release()


def check_still_held(storage: Storage) -> None:
    """Stop a run that has lost its folder.

    Raises:
        UserError: Another run has taken the folder.
    """
    if storage.uri in _lost:
        raise UserError(
            f"another run took over {storage.uri} while this one could not reach it: this one "
            "stops; what it committed is kept"
        )


@contextmanager
def _flock(storage: Storage) -> Iterator[None]:
    import fcntl

    root = Path(storage.path())
    root.mkdir(parents=True, exist_ok=True)
    with open(root / layout.LOCK_FILE, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(
                f"another run is at work in {storage.uri}: wait for it, or use another folder"
            ) from None
        yield


@dataclass(slots=True)
class _Presence:
    """The sign of life of this run."""

    storage: Storage
    beat: float
    silence: float
    name: str = field(default_factory=lambda: f"{uuid.uuid4().hex}.json")
    _content: dict[str, Any] = field(default_factory=lambda: {**_who_am_i(), "beats": 0})

    def acquire(self, say: Callable[[str], None]) -> None:
        """Hold the folder as soon as no other run is alive.

        Raises:
            FolderInUseError: Another run is alive.
        """
        _lost.discard(self.storage.uri)
        seen: dict[str, tuple[dict[str, Any], float]] = {}
        try:
            self._write("asks")
            while others := self._others():
                for name, content in others.items():
                    if name not in seen:
                        say(f"waiting for a sign of life of {_describe(content)} ...")
                    first, since = seen.setdefault(name, (content, time.monotonic()))
                    waits_for_us = content["state"] == "asks" and name > self.name
                    if content != first and not waits_for_us:
                        raise FolderInUseError(
                            f"another run is at work in {self.storage.uri} "
                            f"({_describe(content)}): wait for it, or use another folder"
                        )
                    if time.monotonic() - since > self.silence and content == first:
                        self.storage.delete(f"{layout.LOCK}/{name}")
                time.sleep(self.beat / 2)
                self._write("asks")
            self._write("holds")
        except BaseException:
            self.release()
            raise

    def keep(self, stop: threading.Event) -> None:
        """Write the sign of life again and again until `stop` is set."""
        while not stop.wait(self.beat):
            try:
                if not self.storage.exists(self._path):
                    _lost.add(self.storage.uri)
                    return
                self._write("holds")
            except OSError:  # the store cannot be reached: others see this run as silent
                continue

    def release(self) -> None:
        """Remove the sign of life."""
        self.storage.delete(self._path)

    @property
    def _path(self) -> str:
        return f"{layout.LOCK}/{self.name}"

    def _write(self, state: str) -> None:
        self._content |= {"state": state, "beats": self._content["beats"] + 1}
        self.storage.write_json(self._path, self._content)

    def _others(self) -> dict[str, dict[str, Any]]:
        """Return the signs of life of runs that may be alive; remove those of dead ones."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.storage.list(layout.LOCK):
            if name == self.name:
                continue
            try:
                content = self.storage.read_json(f"{layout.LOCK}/{name}")
            except FileNotFoundError:  # removed since it was listed
                continue
            except json.JSONDecodeError:  # half written, on a store that shows such objects
                content = dict(_UNKNOWN)
            process = ProcessId(content["machine"], content["pid"], content["started"])
            if process.is_gone():
                self.storage.delete(f"{layout.LOCK}/{name}")
            else:
                found[name] = content
        return found


def _who_am_i() -> dict[str, Any]:
    return {
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        **asdict(ProcessId.current()),
    }


def _describe(content: dict[str, Any]) -> str:
    return "process {pid} of {user} on {host}, since {since}".format(**content)
