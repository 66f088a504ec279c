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
- A newcomer deletes the sign of life of a dead owner, and names it in its own. An owner that was
  only slow (suspended, or cut off) finds its sign gone, or its name there. It looks every five
  seconds and before each marker, and stops. Its ledger is closed to it at once: see
  `teacher.ledger_actor`.
"""

from __future__ import annotations

import errno
import getpass
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from baldistill.errors import FolderInUseError, UserError
from baldistill.processes import ProcessId
from baldistill.run_folder import layout
from baldistill.run_folder.signs_of_life import is_lost, read_sign
from baldistill.storage import Storage

_held: dict[str, _Presence] = {}
"""The signs of life of the runs in this process, by the URI of their folder."""


@contextmanager
def only_run_in(
    storage: Storage,
    say: Callable[[str], None] = lambda text: None,
    *,
    beat: float = 5.0,
    silence: float = 60.0,
    beside: Storage | None = None,
) -> Iterator[None]:
    """Hold the run folder until the block ends; `say` what this run waits for.

    An owner writes its sign of life every `beat` seconds, and counts as dead after `silence`
    seconds without a change. Where another run took the folder, the main thread is interrupted.
    `beside` is a folder that this run holds already: whom it found dead there is dead here, too.

    Raises:
        UserError: Another run is at work there, or has taken the folder, or the storage cannot be
            written to.
    """
    if storage.is_local and os.name == "posix":
        with _flock(storage):
            yield
        return
    presence = _Presence(storage, beat, silence)
    if beside is not None and (other := _held.get(beside.uri)) is not None:
        presence.name, presence.content["took"] = other.name, [*other.content["took"]]
    try:
        presence.acquire(say)
    except OSError as error:
        raise UserError(
            f"cannot write to {storage.uri}: {error}. Check that the bucket exists, and the "
            "credentials in the environment"
        ) from None
    with _beating(presence, say):
        yield


@contextmanager
def only_user_of(
    store: Storage, folder: Storage, say: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold a store of teacher answers until the block ends, beside the folder of this run.

    Runs in several processes would not see what the others are asking, and pay for it again.

    Raises:
        UserError: Another run uses the store.
    """
    with ExitStack() as held:
        try:
            held.enter_context(only_run_in(store, say, beside=folder))
        except FolderInUseError as error:
            raise FolderInUseError(
                f"the teacher's answers in {store.uri} are in use. Two runs that do not know of "
                "each other would pay for the same answers twice: start this one when the other "
                "has ended, or both as one command (`baldistill compare`, `baldistill sweep`), or "
                f"give it another --store.\n{error}"
            ) from None
        yield


def check_still_held(storage: Storage) -> None:
    """Stop a run that has lost its folder; looks anew at the storage.

    Raises:
        UserError: Another run has taken the folder.
    """
    presence = _held.get(storage.uri)
    if presence is not None and presence.is_lost():
        raise _taken(storage)


@dataclass(frozen=True, slots=True)
class Hold:
    """That this run holds a folder on an object store; other processes of the run may look, too.

    Attributes:
        storage: The folder.
        name: Of the run's sign of life there.
    """

    storage: Storage
    name: str

    def check(self) -> None:
        """Look whether the run still holds the folder.

        Raises:
            UserError: Another run has taken it.
        """
        if is_lost(self.storage, self.name):
            raise _taken(self.storage)


def hold_of(storage: Storage) -> Hold | None:
    """Return the hold of this process on a folder; None where no sign of life is needed."""
    presence = _held.get(storage.uri)
    return None if presence is None else Hold(storage, presence.name)


def _taken(storage: Storage) -> UserError:
    return UserError(
        f"another run took over {storage.uri} while this one was suspended or could not reach it: "
        "this one stops; what it committed is kept"
    )


@contextmanager
def _beating(presence: _Presence, say: Callable[[str], None]) -> Iterator[None]:
    """Keep the sign of life while the block runs; end the block where another run takes over."""
    main = threading.main_thread()
    interrupts = threading.current_thread() is main  # no other thread can be interrupted

    def lost() -> None:
        if interrupts:
            # A real signal: the main thread may be waiting in a system call.
            signal.pthread_kill(main.ident or 0, signal.SIGINT)

    stop = threading.Event()
    beating = threading.Thread(target=presence.keep, args=(stop, lost, say), daemon=True)
    _held[presence.storage.uri] = presence
    beating.start()
    try:
        try:
            yield
        finally:
            stop.set()
            beating.join()
    except KeyboardInterrupt:
        if presence.lost:
            raise _taken(presence.storage) from None
        raise
    finally:
        del _held[presence.storage.uri]
        presence.release()


@contextmanager
def _flock(storage: Storage) -> Iterator[None]:
    import fcntl

    storage.make()
    path = Path(storage.path(layout.LOCK_FILE))
    try:  # neither empties a file nor follows a link to somebody's
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"{path} is a symbolic link: remove it, no run makes one") from None
    with open(descriptor) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(
                f"another run is at work in {storage.uri}: wait for it, or use another folder"
            ) from None
        yield


@dataclass(slots=True)
class _Presence:
    """The sign of life of this run.

    Attributes:
        lost: Whether another run is known to have taken the folder.
    """

    storage: Storage
    beat: float
    silence: float
    name: str = field(default_factory=lambda: f"{uuid.uuid4().hex}.json")
    lost: bool = False
    content: dict[str, Any] = field(default_factory=lambda: {**_who_am_i(), "beats": 0, "took": []})

    def acquire(self, say: Callable[[str], None]) -> None:
        """Hold the folder as soon as no other run is alive.

        Raises:
            FolderInUseError: Another run is alive.
        """
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
                        self.content["took"].append(name)
                        self.storage.delete(f"{layout.LOCK}/{name}")
                time.sleep(self.beat / 2)
                self._write("asks")
            self._write("holds")
        except BaseException:
            self.release()
            raise

    def keep(
        self, stop: threading.Event, lost: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        """Write the sign of life again and again until `stop` is set; call `lost` if it is lost."""
        failing = False
        while not stop.wait(self.beat):
            try:
                if self.is_lost():
                    lost()
                    return
                self._write("holds")
                failing = False
            # A filesystem may raise anything, and this thread must go on: other runs see this run
            # as silent until the thread writes again.
            except Exception as error:  # noqa: BLE001
                if not failing:
                    say(f"warning: cannot write to {self.storage.uri}, trying on: {error}")
                failing = True

    def is_lost(self) -> bool:
        """Look whether another run has taken the folder."""
        self.lost = self.lost or is_lost(self.storage, self.name)
        return self.lost

    def release(self) -> None:
        """Remove the sign of life, if the storage can be reached."""
        with suppress(OSError):
            self.storage.delete(self._path)

    @property
    def _path(self) -> str:
        return f"{layout.LOCK}/{self.name}"

    def _write(self, state: str) -> None:
        self.content |= {"state": state, "beats": self.content["beats"] + 1}
        self.storage.write_json(self._path, self.content)

    def _others(self) -> dict[str, dict[str, Any]]:
        """Return the signs of life of runs that may be alive; remove those of dead ones."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.storage.list(layout.LOCK):
            if name == self.name:
                continue
            if (content := read_sign(self.storage, name)) is None:
                continue
            process = ProcessId(content["machine"], content["pid"], content["started"])
            if process.is_gone() or name in self.content["took"]:
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
