"""The frame of benchmarks that prepare corpora of growing size, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selection_scale import Memory, workers

if TYPE_CHECKING:
    from baldistill.data.named_domains import Namer
    from baldistill.data.summary import CorpusSummary
    from baldistill.storage import Storage

QUICK = "20000,80000"


def sizes_to_measure(
    description: str, measure: Callable[[int, str], dict[str, Any]]
) -> list[str] | None:
    """Read the command line.

    Returns:
        The numbers of rows; None in a process that `measured` started, which has measured.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rows")
    parser.add_argument("--rows", default="250000,1000000", help="comma-separated")
    parser.add_argument("--measure", nargs=2, metavar=("ROWS", "KIND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(int(arguments.measure[0]), arguments.measure[1])))
        return None
    sizes: str = QUICK if arguments.quick else arguments.rows
    return sizes.split(",")


def measured(file: str, sizes: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Let a benchmark measure each kind of preparation at each size, a process each."""
    found = []
    for rows in sizes:
        for kind in kinds:
            command = [sys.executable, file, "--measure", rows, kind]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(found[-1]), flush=True)
    return found


def prepare(
    values: Mapping[str, Any], storage: Storage, namer: Namer | None = None
) -> tuple[CorpusSummary, dict[str, Any]]:
    """Prepare the corpus of a section `data`; return its summary, and what that cost."""
    from baldistill.config import DataConfig
    from baldistill.data.prepare import prepare_corpus
    from baldistill.placement.cluster import connected

    use = Use()
    with connected(), use:
        before = use.look()
        summary = prepare_corpus(DataConfig.model_validate(values), 0, storage, namer=namer)
        seconds = use.look() - before
    cost = {"cpu_seconds": round(seconds, 1)}
    return summary, cost | {"driver_peak_mib": use.driver, "worker_peak_mib": use.worker}


class Use(Memory):
    """Peak memory, and the CPU seconds of this process and its workers so far, by process."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu: dict[int, float] = {}

    def look(self) -> float:
        """Read the clocks; return their sum."""
        for pid in (os.getpid(), *workers()):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended since
                continue
            self.cpu[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return sum(self.cpu.values())
