"""bespokelabs-curator and distilabel under the same kills and the five worst replies, beside ours.

They are asked as many questions as our run asks, through `benchmarks/peers.py`. All three are
counted by what the server saw: an answer that it had sent before a kill, and was asked for again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from peers import SCRIPTS, start_peer
from servers.fault_server import running

from fault_matrix.hostile import WORST
from fault_matrix.round import CONCURRENCY, random_blows
from fault_matrix.scenarios import Matrix
from fault_matrix.teacher import Witness

_LIMIT_S = 90.0  # for a start that goes on; without faults it takes some 10 s
_HOSTILE = 20  # questions that are answered with a bad reply first


@dataclass(slots=True)
class Outcome:
    """The outcome of one kind of fault for one program."""

    program: str
    fault: str
    kills: int
    completed: str
    answers: str
    calls: int
    repeated: int

    def cells(self) -> list[str]:
        """Return it as a row of the second table."""
        counts = [str(self.kills), self.completed, self.answers, str(self.calls)]
        return [self.fault, self.program, *counts, str(self.repeated)]


COLUMNS = ("fault", "program", "kills", "completed", "answers", "server calls", "sent again")


def side_by_side(matrix: Matrix, kills: int) -> Iterator[Outcome]:
    """Put all three through SIGKILL of all at the same moments, then through each bad reply."""
    moments = random_blows(("all",), kills, matrix.num_calls, matrix.rng)
    plan = [(calls, delay) for _, calls, delay in moments]
    names = [name for name in SCRIPTS if _is_installed(name)]
    yield _ours_killed(matrix, plan)
    for name in names:
        yield _peer(matrix, name, "SIGKILL of all", plan, Witness(latency=0.05, spread=0.2))
    for title, reply in WORST.items():
        yield _ours_answered(matrix, title)
        for name in names:
            server = Witness()
            server.be_hostile([reply] * _HOSTILE)
            yield _peer(matrix, name, title, [], server)


def _is_installed(name: str) -> bool:
    folder = os.environ.get("BALDISTILL_PEERS")
    return folder is not None and (Path(folder) / name / "bin" / "python").exists()


def _ours_killed(matrix: Matrix, plan: Sequence[tuple[int, float]]) -> Outcome:
    with matrix.round() as this:
        this.start()
        for at_calls, delay in plan:
            this.strike("all", at_calls, delay)
        status = this.finish()
        answers = f"{len(_served(this.server))}/{matrix.num_calls}"
        done = "yes" if status == 0 else f"exit status {status}"
        again = _sent_again(this.server)
        calls = len(this.server.calls)
        return Outcome("baldistill", "SIGKILL of all", this.kills, done, answers, calls, again)


def _ours_answered(matrix: Matrix, title: str) -> Outcome:
    with matrix.round(latency=0.0) as this:
        this.server.be_hostile([WORST[title]] * _HOSTILE)
        this.start()
        status = this.finish(expected=(0, 2))
        done = "yes" if status == 0 else f"exit status {status}"
        served, calls = len(_served(this.server)), len(this.server.calls)
        return Outcome("baldistill", title, 0, done, f"{served} served", calls, 0)


def _peer(
    matrix: Matrix, name: str, fault: str, plan: Sequence[tuple[int, float]], server: Witness
) -> Outcome:
    """Start a program, kill it by a plan, start it again each time, and let it end."""
    folder = matrix.folder / f"{name}-{fault.replace(' ', '-')}"
    folder.mkdir()
    with running(server) as url:
        process = start_peer(name, matrix.num_calls, CONCURRENCY, url, str(folder))
        kills = 0
        for at_calls, delay in plan:
            if not _wait_for_calls(process, server, at_calls):
                break
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            server.life += 1
            process = start_peer(name, matrix.num_calls, CONCURRENCY, url, str(folder))
        try:
            output, _ = process.communicate(timeout=_LIMIT_S)
            done = "yes" if process.returncode == 0 else f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            done = f"hung ({_LIMIT_S:.0f} s)"
    rows = [line for line in output.splitlines() if line.startswith('{"answers"')]
    answers = f"{len(_served(server))}/{matrix.num_calls}" + (f", says {rows[-1]}" if rows else "")
    return Outcome(name, fault, kills, done, answers, len(server.calls), _sent_again(server))


def _wait_for_calls(process: subprocess.Popen[str], server: Witness, number: int) -> bool:
    deadline = time.monotonic() + _LIMIT_S
    while len(server.calls) < number and process.poll() is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return process.poll() is None


def _served(server: Witness) -> frozenset[str]:
    return frozenset(call.key for call in server.calls if call.outcome == "served")


def _sent_again(server: Witness) -> int:
    """Count requests for an answer that the server had given in an earlier life."""
    given: dict[str, int] = {}
    again = 0
    for call in server.calls:
        again += given.get(call.key, call.life) < call.life
        if call.outcome == "served":
            given.setdefault(call.key, call.life)
    return again
