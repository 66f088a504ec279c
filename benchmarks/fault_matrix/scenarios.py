"""The faults that a run is put through, a function for each kind."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from baldistill.run_folder import layout
from fault_matrix.disks import IoFaults, loop_disk, why_no_loop_disk
from fault_matrix.history import Limits
from fault_matrix.hostile import drawn
from fault_matrix.round import (
    CONCURRENCY,
    LIMIT_S,
    NOTED_AHEAD,
    Blow,
    Round,
    copy_corpus,
    opened,
    random_blows,
    tables_of,
)
from fault_matrix.rows import Row

_PATIENT = ["teacher.timeout_s=120"]  # the server waits for each blow
_MOST_STARTS = 8
_BOUND = 800  # tokens that one open call can hold at most


@dataclass(slots=True)
class Matrix:
    """State that all scenarios share.

    Attributes:
        folder: Where all rounds are.
        port: Of the teacher; part of each request's id.
        undisturbed: Run folder that nothing disturbed.
        expected: Its tables.
        num_calls: Its calls.
        num_tokens: Its tokens.
    """

    folder: Path
    port: int
    rng: random.Random
    undisturbed: Path = Path()
    expected: dict[str, object] = field(default_factory=dict)
    num_calls: int = 0
    num_tokens: int = 0
    _number: int = 0

    @contextmanager
    def round(self, *, fresh: bool = False, **fields: Any) -> Iterator[Round]:
        """Open a round, which begins behind the corpus unless it is `fresh`."""
        self._number += 1
        corpus = None if fresh else self.undisturbed
        folder = self.folder / f"round-{self._number:03d}"
        with opened(folder, self.port, corpus=corpus, **fields) as this:
            yield this

    def run_undisturbed(self) -> Row:
        """Make the run that all others are compared with."""
        row = Row("none")
        with self.round(fresh=True) as this:
            this.start()
            this.finish()
            row.add(this, None)
            self.undisturbed, self.expected = this.run_dir, tables_of(this.run_dir)
            self.num_calls = len(this.server.calls)
            self.num_tokens = sum(call.tokens for call in this.server.calls)
        return row

    def justified(self, kills: int) -> Limits:
        """Return the least caps under which a run with so many kills must still complete."""
        unknown = kills * (CONCURRENCY + NOTED_AHEAD)
        return Limits(
            examples=60,
            calls=self.num_calls + unknown,
            tokens=self.num_tokens + (unknown + CONCURRENCY) * _BOUND,
        )


def kills(matrix: Matrix, name: str, blows: Sequence[Blow], rounds: int, number: int) -> Row:
    """Kill at random moments and go on, under caps that leave room for what was in flight."""
    row = Row(name)
    for _ in range(rounds):
        plan = random_blows(blows, number, matrix.num_calls, matrix.rng)
        with matrix.round(options=_PATIENT, limits=matrix.justified(number)) as this:
            this.start()
            for blow, at_calls, delay in plan:
                this.strike(blow, at_calls, delay)
            this.finish()
            row.add(this, matrix.expected)
    return row


def whole_runs(matrix: Matrix, name: str, blows: Sequence[Blow]) -> Row:
    """Kill runs that train and evaluate their students, while the first one is trained."""
    row = Row(name)
    options = ["student.num_workers=1", "student.epochs=20", "student.response.max_new_tokens=8"]
    for blow in blows:
        variables = {"BALDISTILL_WHOLE_RUN": "1"}
        with matrix.round(options=options, variables=variables) as this:
            process = this.start()
            trains = this.run_dir / layout.marker(layout.StageLayout(1).step("annotated"))
            process.wait_until(trains.exists, LIMIT_S)
            process.wait_until(partial(process.victims, "train worker"), LIMIT_S)
            this.strike(blow, 0, matrix.rng.random())
            if this.finish(expected=(0, 2)) != 0:
                this.crashed()
                this.start()
                this.finish()
            row.add(this, matrix.expected)
    return row


def short_cap(matrix: Matrix, name: str, number: int) -> Row:
    """Kill a run whose cap on calls is half of what it needs: it ends short and says so."""
    row = Row(name)
    limits = Limits(examples=60, calls=matrix.num_calls // 2)
    blows = random_blows(("all", "ledger", "engine"), number, matrix.num_calls // 2, matrix.rng)
    with matrix.round(options=_PATIENT, limits=limits) as this:
        this.start()
        for blow, at_calls, delay in blows:
            this.strike(blow, at_calls, delay)
        this.finish()
        if "the cap on calls was reached" not in this.said():
            this.problems.append("it ended short of its budget and did not say so")
        row.add(this, None)
    return row


def io_errors(matrix: Matrix, name: str, error: int, numbers: Sequence[int], stays: bool) -> Row:
    """Let the n-th I/O call below the run folder fail; mend the disk; go on."""
    row = Row(name)
    faults = IoFaults.build(matrix.folder)
    if faults is None:
        row.skipped = "there is no C compiler"
        return row
    for number in numbers:
        with matrix.round(variables=faults.variables) as this:
            faults.arm(this.folder / "run", number, error, stays=stays)
            this.start()
            status = this.finish(expected=(0, 2))
            reached = faults.calls >= number
            faults.disarm()
            if status != 0:
                this.crashed()
                this.start()
                this.finish()
            this.problems = [f"call {number}: {problem}" for problem in this.problems]
            row.add(this, matrix.expected, faults=int(reached))
        if not reached:
            break
    return row


def power_loss(matrix: Matrix, name: str, moments: Sequence[int]) -> Row:
    """Take the power from the whole machine, on an ext4 disk in a file."""
    row = Row(name)
    if why := why_no_loop_disk():
        row.skipped = why
        return row
    try:
        for moment in moments:
            with (
                matrix.round(fresh=True) as this,
                loop_disk(this.folder / "machine") as disk,
            ):
                this.run_dir = disk.place / "run"
                this.start()
                this.strike("all", moment, matrix.rng.random() * 0.5, before_next=disk.lose_power)
                this.finish()
                row.add(this, matrix.expected)
                assert this.process is not None
                this.process.end()
    except subprocess.CalledProcessError as problem:
        row.skipped = f"this machine mounts no disk: {problem.stderr.decode().strip()}"
    return row


def pause(matrix: Matrix, name: str) -> Row:
    """Suspend a run; another one that starts in its folder must leave it alone."""
    row = Row(name)
    with matrix.round() as this:
        process = this.start()
        process.wait_until(lambda: len(this.server.calls) >= matrix.num_calls // 3, LIMIT_S)
        process.kill("all", signal.SIGSTOP)
        before = len(this.server.calls)
        this.start()
        this.finish(expected=(2,))
        if len(this.server.calls) > before:
            this.problems.append("a second run asked while the first was suspended")
        this.process = process
        process.kill("all", signal.SIGCONT)
        this.finish()
        row.add(this, matrix.expected, faults=1)
    return row


def two_processes(matrix: Matrix, name: str) -> Row:
    """Let two runs share one store at the same time: no request is answered twice."""
    row = Row(name)
    store = ["--store", str(matrix.folder / "shared-store")]
    with matrix.round(options=store, latency=0.5) as this:  # slow, so that they overlap
        copy_corpus(matrix.undisturbed, this.folder / "second")
        first = this.start()
        first_dir, this.run_dir = this.run_dir, this.folder / "second"
        second = this.start()
        for process, run_dir in ((first, first_dir), (second, this.run_dir)):
            this.process, this.run_dir = process, run_dir
            this.finish(expected=(0, 2))
        for run_dir in (first_dir, this.folder / "second"):  # one may have been told to wait
            this.run_dir = run_dir
            this.start()
            this.finish()
            if tables_of(run_dir) != matrix.expected:
                this.problems.append(f"the tables of {run_dir.name} differ")
        this.other_runs.append(first_dir)
        row.add(this, matrix.expected, faults=1)
    return row


def hostile(matrix: Matrix, name: str, number: int) -> Row:
    """Answer the first requests with what no client expects, then behave."""
    row = Row(name)
    left = drawn(number, matrix.rng)
    while left:
        share, left = left[: matrix.num_calls], left[matrix.num_calls :]
        with matrix.round(latency=0.0, limits=Limits(60, 20 * matrix.num_calls, 10**6)) as this:
            this.server.be_hostile(share)
            for _ in range(_MOST_STARTS):  # each may end at one of them, with a message
                this.start()
                if this.finish(expected=(0, 2)) == 0:
                    break
                this.crashed()
            row.add(this, None, faults=this.server.num_bad)
            left = [*this.server.bad_replies, *left]
            if this.statuses[-1] != 0:
                row.problems.append(f"{len(left)} replies were not tried: the run does not go on")
                break
    return row


Damage = Callable[[Path, random.Random], Path]


def damaged(matrix: Matrix, name: str, damages: Sequence[Damage]) -> Row:
    """Damage a file of a run that was killed half-way: it is noticed, and can be repaired."""
    row = Row(name)
    with matrix.round() as half:
        half.start()
        half.strike("all", 3 * matrix.num_calls // 4, 0.0)
        assert half.process is not None
        half.process.end()
        source = half.run_dir
    for damage in damages:
        with matrix.round() as this:
            shutil.rmtree(this.folder / "run")
            shutil.copytree(source, this.folder / "run")
            file = damage(this.folder / "run", matrix.rng)
            this.start()
            status = this.finish(expected=(0, 2))
            if status == 2 and file.stem not in this.said():
                this.problems.append(f"the message does not name {file.name}")
            if status == 2:
                this.command("repair", str(this.run_dir), "--accept-loss")
                this.finish()
                this.start()
                this.finish()
            elif tables_of(this.run_dir) != matrix.expected:
                this.problems.append(f"damage of {file.name} changed the tables without a word")
            this.problems = [f"{damage.__name__}: {problem}" for problem in this.problems]
            row.add(this, None, faults=1, is_whole=False)
    return row
