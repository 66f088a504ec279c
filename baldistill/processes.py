"""Processes: whether they have ended, and how they start in less time."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, distinct from every other that ever ran.

    Attributes:
        machine: The boot of its machine and its namespace of process ids; None without Linux.
        pid: Its number, which a later process may have too.
        started: When it started, in the kernel's ticks.
    """

    machine: str | None
    pid: int
    started: str | None

    @classmethod
    def current(cls) -> ProcessId:
        """Return the process that calls this."""
        return cls(_machine(), os.getpid(), _start_of(os.getpid()))

    def is_gone(self) -> bool:
        """Return whether it ran on this machine and has ended; False for another machine's."""
        here = self.machine is not None and self.machine == _machine()
        return here and self.started != _start_of(self.pid)


@contextmanager
def without_collector() -> Iterator[None]:
    """Pause the garbage collector while a process imports much.

    What an import makes stays, and yet the collector looks through all of it again and again: 0.6 s
    of the 3.9 s of processor time in which torch and transformers are imported and load a model.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_transformers() -> None:
    """Import what generates texts in transformers, without scikit-learn.

    transformers imports it wherever it is installed, for assisted generation, which nothing here
    uses: 1.6 s of the 5.5 s of processor time that an engine's imports take. Not needed once
    transformers imports it only where it is called (test_processes.py). Checked with 5.19.
    """
    from transformers import utils

    usual = utils.is_sklearn_available
    utils.is_sklearn_available = lambda: False
    try:
        import transformers.generation.candidate_generator  # noqa: F401
    finally:
        utils.is_sklearn_available = usual


@contextmanager
def without_old_objects() -> Iterator[None]:
    """Let the collector leave out all that exists when the block begins.

    Trainer has it look through everything as a training begins: 0.4 s of the processor where torch
    and transformers are imported, and more in a driver, for objects that stay.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@functools.cache
def _machine() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _start_of(pid: int) -> str | None:
    """Return when a process of this machine started; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return None
    values = stat.rpartition(")")[2].split()  # behind the name, which may hold anything
    return None if values[0] in "ZX" else values[19]
