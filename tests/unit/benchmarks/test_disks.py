"""The library that fails I/O calls fails the chosen ones, in the chosen folder, and no others."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_matrix.disks import IoFaults

WRITER = """
import os, sys
for number in range(5):
    path = f"{sys.argv[1]}/{number}"
    try:
        with open(path + ".tmp", "w") as file:
            file.write("x")
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".tmp", path)
    except OSError as error:
        print(number, error.errno)
"""
CALLS = 4  # of one file: open, write, fsync, rename

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux", reason="needs Linux and a C compiler"
)


@pytest.mark.parametrize(
    ("number", "stays", "failed"),
    [
        (CALLS * 5 + 1, True, []),
        *((CALLS + call, False, [1]) for call in (1, 2, 3, 4)),
        (CALLS * 3 + 2, True, [3, 4]),
    ],
)
def test_the_chosen_calls_fail(number: int, stays: bool, failed: list[int], tmp_path: Path) -> None:
    faults = IoFaults.build(tmp_path)
    assert faults is not None
    watched, other = tmp_path / "watched", tmp_path / "other"
    for folder in (watched, other):
        folder.mkdir()
    faults.arm(watched, number, errno.EIO, stays=stays)
    for folder in (other, watched):
        command = [sys.executable, "-c", WRITER, str(folder)]
        environment = {**os.environ, **faults.variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        lines = [f"{file} {errno.EIO}" for file in failed] if folder is watched else []
        assert done.stdout.splitlines() == lines
    assert faults.calls >= CALLS * (5 - len(failed))
