"""A run under fire: killed, on a failing disk, behind a hostile server, damaged; what it kept.

    python benchmarks/faults.py [--quick] [--seed N] [--only NAME ...] [--others] [--keep FOLDER]

Each fault is a row of the table, and each round of it a run folder and a teacher on loopback that
counts. A checker (fault_matrix/history.py) compares what the server saw with ledger, store, caps
and tables; docs/reliability.md says what each column means. The runs are real, but for their
student, which learns nothing (fault_matrix/driver.py); the last row kills whole runs.
The exit status is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fault_matrix import scenarios  # noqa: E402
from fault_matrix.damage import DAMAGES  # noqa: E402
from fault_matrix.round import Blow  # noqa: E402
from fault_matrix.rows import COLUMNS, Row, summary, table  # noqa: E402
from fault_matrix.scenarios import Matrix  # noqa: E402

Scenario = Callable[[Matrix, str], Row]


def quick_scenarios() -> dict[str, Scenario]:
    """Return what the gate runs: a few kills, replies and failing calls in few starts."""
    blows: tuple[Blow, ...] = ("ledger", "engine", "engine", "all")
    return {
        "kills": partial(scenarios.kills, blows=blows, rounds=1, number=4),
        "hostile server": partial(scenarios.hostile, number=60),
    }


def full_scenarios() -> dict[str, Scenario]:
    """Return all faults: over a hundred kills, and two hundred hostile replies."""
    kills = scenarios.kills
    numbers = [1 << i for i in range(12)]
    mixed: tuple[Blow, ...]
    mixed = ("all", "driver", "ledger", "engine", "raylet", "interrupt", "terminate")
    return {
        "hostile server": partial(scenarios.hostile, number=220),
        "SIGKILL of the ledger": partial(kills, blows=("ledger",), rounds=2, number=10),
        # More would hit some request four times in flight, which then gets no answer.
        "SIGKILL of the engine": partial(kills, blows=("engine",), rounds=2, number=8),
        "SIGKILL of all": partial(kills, blows=("all",), rounds=2, number=8),
        "SIGKILL of the driver": partial(kills, blows=("driver",), rounds=2, number=8),
        "Ctrl-C": partial(kills, blows=("interrupt",), rounds=1, number=6),
        "SIGTERM": partial(kills, blows=("terminate",), rounds=1, number=6),
        "all of these": partial(kills, blows=mixed, rounds=4, number=8),
        "kills, half the calls": partial(scenarios.short_cap, number=4),
        "pause and takeover": scenarios.pause,
        "two processes, one store": scenarios.two_processes,
        "power loss": partial(scenarios.power_loss, moments=(0, 20, 60, 110)),
        "damaged folder": partial(scenarios.damaged, damages=DAMAGES),
        "ENOSPC from call n": partial(
            scenarios.io_errors, error=errno.ENOSPC, numbers=numbers, stays=True
        ),
        "EIO at call n": partial(
            scenarios.io_errors, error=errno.EIO, numbers=numbers, stays=False
        ),
        "SIGKILL of the raylet": partial(kills, blows=("raylet",), rounds=1, number=4),
        "whole runs": partial(scenarios.whole_runs, blows=("train worker", "raylet", "all")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few rounds, under two minutes")
    parser.add_argument("--seed", type=int, default=0, help="of moments and replies")
    parser.add_argument("--only", nargs="*", help="rows whose names contain one of these")
    parser.add_argument("--others", action="store_true", help="curator and distilabel, too")
    parser.add_argument("--keep", type=Path, help="keep all run folders here")
    arguments = parser.parse_args()
    # A shell starts what runs in the background without Ctrl-C, and the runs would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    chosen = quick_scenarios() if arguments.quick else full_scenarios()
    if arguments.only:
        chosen = {n: s for n, s in chosen.items() if any(word in n for word in arguments.only)}
    with ExitStack() as stack:
        folder = arguments.keep or Path(tempfile.mkdtemp(prefix="faults-"))
        if arguments.keep is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        rng = random.Random(arguments.seed)
        matrix = Matrix(folder.resolve(), free_port(), rng)
        rows = [matrix.run_undisturbed()]
        interrupted = False
        try:
            for name, scenario in chosen.items():
                began = time.monotonic()
                rows.append(scenario(matrix, name))
                say(rows[-1], time.monotonic() - began)
        except KeyboardInterrupt:
            interrupted = True
            print("interrupted: these rows were done", file=sys.stderr)
        print(table(COLUMNS, (row.cells() for row in rows)))
        if arguments.others and not interrupted:
            from fault_matrix import others

            cells = []
            for outcome in others.side_by_side(matrix, kills=4):
                cells.append(outcome.cells())
                print(" | ".join(cells[-1]), file=sys.stderr, flush=True)
            print(table(others.COLUMNS, cells))
    print(summary(rows, time.monotonic() - start, arguments.seed))
    sys.exit(130 if interrupted else any(not row.is_green for row in rows))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(row: Row, seconds: float) -> None:
    """Show a row as soon as it is known, with what is wrong."""
    print(f"{row.name}: {' | '.join(row.cells()[1:])} ({seconds:.0f} s)", file=sys.stderr)
    for problem in row.problems:
        print(f"    {problem}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
