"""The processes of a run: found by their session, and killed by what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Victim = Literal["all", "driver", "ledger", "engine", "train worker", "raylet"]

_TITLES = {
    "ledger": "ray::DurableLedger",
    "engine": "ray::EngineActor",
    "train worker": "ray::RayTrainWorker",
}
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class RunProcess:
    """A driver that was started, with its own Ray.

    Attributes:
        output: The file that stdout and stderr go to.
    """

    driver: subprocess.Popen[bytes]
    output: Path

    @classmethod
    def start(cls, arguments: list[str], home: Path, output: Path, **variables: str) -> RunProcess:
        """Start `driver.py` with arguments; `home` is its working directory, too."""
        script = Path(__file__).with_name("driver.py")
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "HOME": str(home), "HF_HUB_OFFLINE": "1",
            "RAY_worker_niceness": "0",  # by itself 15, which starves them on a busy machine
            "PYTHONPATH": str(script.parents[2]), **variables,
        }  # fmt: skip
        with output.open("wb") as file:
            driver = subprocess.Popen(
                [sys.executable, str(script), *arguments],
                env=environment, cwd=home, stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return cls(driver, output)

    def said(self) -> str:
        """Return what it has printed so far."""
        return self.output.read_text("utf-8", "replace")

    def victims(self, victim: Victim) -> list[int]:
        """Return the processes that do this in the run now."""
        if victim == "driver":
            return [self.driver.pid] if self.driver.poll() is None else []
        everyone = _of_session(self.driver.pid)
        if victim == "all":
            return everyone
        if victim == "raylet":
            return [p for p in everyone if _command(p).partition("\0")[0].endswith("/raylet")]
        return [p for p in everyone if _command(p).startswith(_TITLES[victim])]

    def kill(self, victim: Victim, number: int = signal.SIGKILL) -> int:
        """Send a signal to them; return how many got it."""
        reached = 0
        for pid in self.victims(victim):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                reached += 1
        return reached

    def end(self) -> None:
        """Leave nothing behind."""
        while self.kill("all"):
            time.sleep(_POLL_S)
        self.driver.wait()

    def wait_until(self, true: Callable[[], object], limit: float) -> bool:
        """Wait for a condition; return whether it came true before the driver's end."""
        deadline = time.monotonic() + limit
        while not true():
            if self.driver.poll() is not None or time.monotonic() > deadline:
                return bool(true())
            time.sleep(_POLL_S)
        return True


def _of_session(session: int) -> list[int]:
    """Return the living processes of a session: nothing that a driver starts leaves its own."""
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError, ValueError):
            stat = Path("/proc", entry, "stat").read_text("utf-8", "replace").rpartition(")")[2]
            state, _, _, of = stat.split()[:4]
            if int(of) == session and state not in "ZX":
                found.append(int(entry))
    return found


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    return ""
