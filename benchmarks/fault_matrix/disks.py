"""Disks that fail at a chosen call, and disks that lose their power."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PLAN = struct.Struct("=qqii1000s")  # as in io_faults.c
_NEVER = 1 << 60
_DISK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class IoFaults:
    """I/O errors in all processes of a run, by a library that they preload.

    Attributes:
        variables: For the environment of the run.
    """

    variables: dict[str, str]
    _plan: mmap.mmap

    @classmethod
    def build(cls, folder: Path) -> IoFaults | None:
        """Compile the library; None where there is no compiler, or no Linux."""
        compiler, source = shutil.which("cc"), Path(__file__).with_name("io_faults.c")
        library, plan = folder / "io_faults.so", folder / "plan"
        if compiler is None or not Path("/proc/self").exists():
            return None
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True)
        plan.write_bytes(_PLAN.pack(_NEVER, 0, 0, 0, b""))
        with plan.open("r+b") as file:
            shared = mmap.mmap(file.fileno(), _PLAN.size)
        return cls({"LD_PRELOAD": str(library), "IO_FAULTS_PLAN": str(plan)}, shared)

    def arm(self, folder: Path, number: int, error: int, *, stays: bool) -> None:
        """Let the call of this number below the folder fail; with `stays`, all after it, too."""
        self._plan[:] = _PLAN.pack(number, 0, error, stays, os.fsencode(f"{folder}/"))

    def disarm(self) -> None:
        """Let all calls succeed from now on."""
        _, calls, error, _, prefix = _PLAN.unpack(self._plan)
        self._plan[:] = _PLAN.pack(_NEVER, calls, error, 0, prefix)

    @property
    def calls(self) -> int:
        """Return the number of calls since `arm`."""
        return int(_PLAN.unpack(self._plan)[1])


@dataclass(slots=True)
class LoopDisk:
    """A file system in a file.

    Attributes:
        place: Where it is mounted.
        image: The file that holds what has reached the disk.
    """

    place: Path
    image: Path

    def lose_power(self) -> None:
        """Forget all that has not reached the disk; nothing may be writing to it."""
        after = self.image.with_suffix(".after")
        shutil.copy(self.image, after)
        _run("umount", "--lazy", str(self.place))
        self.image = after.rename(self.image.with_suffix(f".{after.stat().st_ino}"))
        _run("mount", "-o", "loop", str(self.image), str(self.place))


def why_no_loop_disk() -> str | None:
    """Return why no disk can be mounted here; None if one can."""
    if os.geteuid() != 0:
        return "only root may mount a disk"
    missing = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    return f"there is no {missing[0]}" if missing else None


@contextmanager
def loop_disk(folder: Path) -> Iterator[LoopDisk]:
    """Mount an empty ext4 disk in a folder.

    Raises:
        subprocess.CalledProcessError: This machine does not allow it.
    """
    place, image = folder / "disk", folder / "image"
    place.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    _run("mkfs.ext4", "-q", str(image))
    _run("mount", "-o", "loop", str(image), str(place))
    disk = LoopDisk(place, image)
    try:
        yield disk
    finally:
        _run("umount", "--lazy", str(place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
