"""Runs as processes, as a user starts them, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from baldistill.answers.journal import SUFFIX, read_rows
from baldistill.cli import main
from baldistill.storage import Storage

ENGINES = [
    "teacher.resources={replicas: 1, num_cpus: 0}",
    "student.resources={replicas: 1, num_cpus: 0}",
    "student.num_workers=0",
]
"""Config of a run that may use the fixture `engines`."""
FINISHED = Path(__file__).resolve().parent / "run_folders" / "0.1.0" / "finished"
"""A finished run of two stages; no student in it can be loaded."""
WAIT_S = 1500.0  # for what a process brings about, on a machine however busy


def start(*arguments: str, home: Path, **variables: str) -> subprocess.Popen[str]:
    """`baldistill` with arguments, in a home folder and a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "baldistill", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables, "HOME": str(home)},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for its end; what it printed."""
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == status, output
    assert "Traceback" not in output
    return output


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `baldistill`, in this process, says of a mistake of the user's."""
    handler = signal.getsignal(signal.SIGTERM)  # which the program replaces
    try:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return shown


def without_login(*arguments: str, home: Path, **variables: str) -> tuple[int, str]:
    """`baldistill` in a home without a login to the hub; its status, and all that it said."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-m", "baldistill", *arguments],
        env={**known, "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "hf_" not in done.stdout + done.stderr, "tokens are not shown"
    return done.returncode, done.stdout + done.stderr


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that the process brings about; fail if it ends without."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_9(process: subprocess.Popen[str]) -> None:
    """End it, and what it started, without a chance to tidy up."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def answered(run: Path | Storage) -> list[str]:
    """Request ids of all stored answers, one for each time that one was answered."""
    store = (run if isinstance(run, Storage) else Storage.open(run)).sub("responses")
    names: list[str] = []
    for segment in store.list():
        if segment.endswith(SUFFIX):
            names += [row["request_id"] for row in read_rows(store.read_bytes(segment))]
        elif segment.endswith(".parquet"):
            names += store.read_table(segment, columns=["request_id"])["request_id"].to_pylist()
    return names


def decided(run_dir: Path) -> dict[str, object]:
    """Everything that a run decides in its stages, free of times, file names and row order."""
    found: dict[str, object] = {}
    for path in [*run_dir.glob("stages/*/*.parquet"), *run_dir.glob("stages/*/scored")]:
        found[str(path.relative_to(run_dir))] = sorted(map(str, pq.read_table(path).to_pylist()))
    for path in run_dir.glob("stages/*/*.json"):
        found[str(path.relative_to(run_dir))] = json.loads(path.read_text())
    assert found
    return found
