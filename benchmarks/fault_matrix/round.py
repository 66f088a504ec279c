"""One run folder from its first start to its end, through kills; what came of it as a history."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from servers.fault_server import running

from baldistill.answers.store import ResponseStore
from baldistill.core.ledger import Caps
from baldistill.run_folder import layout
from baldistill.run_folder.spending import replay
from baldistill.storage import Storage
from fault_matrix.history import Crash, History, Ledger, Limits, violations
from fault_matrix.processes import RunProcess, Victim
from fault_matrix.teacher import Witness, key_of

Blow = Victim | Literal["interrupt", "terminate"]

CONCURRENCY = 8
NOTED_AHEAD = 4  # calls that are noted and about to be sent (generation/openai/engine.py)
_HOLDS_AFTER = 2 * CONCURRENCY  # calls: enough that a blow falls at any moment of the work
STUCK = -1  # in the place of an exit status
LIMIT_S = 300.0  # for a start to end, on a machine however busy
_TEACHER = {
    "kind": "openai", "model": "m", "prompts": "compact", "concurrency": CONCURRENCY,
    "timeout_s": 20, "patience_s": 20, "rationale.max_new_tokens": 96,
    "rationale.temperature": 0.5,  # requests carry a seed then, which names their questions
    "resources.replicas": 1, "resources.batch_size": 16,
}  # fmt: skip
_RUN = {
    "stages": 2, "budget.total": 60, "data.bundled_rows": 150, "selection.metric": "random",
    "data.bundled_evaluation_per_domain": 2, "evaluation.base_student": "false",
}  # fmt: skip
SMALL = [f"{name}={value}" for name, value in _RUN.items()]
SMALL += [f"teacher.{name}={value}" for name, value in _TEACHER.items()]
_SIGNALS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
_ENDS_THE_DRIVER = {"all", "driver", "raylet", *_SIGNALS}
_TOLD = re.compile(r"^(error: .*|interrupted; to resume: .*)", re.MULTILINE)


@dataclass(slots=True)
class Round:
    """A run folder, its teacher, and what has happened to both.

    Attributes:
        folder: Of this round; the run folder is in it.
        run_dir: The run folder.
        options: Further `key=value` of the config, and options of the command.
        statuses: Exit status of each start that ended by itself.
        problems: What a user would complain of, besides broken promises.
        kills: Blows that reached a process.
        other_runs: Run folders whose ledgers count, too.
    """

    folder: Path
    server: Witness
    url: str
    options: list[str] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    variables: dict[str, str] = field(default_factory=dict)
    run_dir: Path = Path()  # by default `run` in the folder
    crashes: list[Crash] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    kills: int = 0
    other_runs: list[Path] = field(default_factory=list)
    process: RunProcess | None = None
    _starts: int = 0
    _next_blow: int = 0  # calls before it

    def __post_init__(self) -> None:
        if not self.run_dir.name:
            self.run_dir = self.folder / "run"

    def start(self) -> RunProcess:
        """Start the run, or start it again."""
        caps = {"calls": self.limits.calls, "tokens": self.limits.tokens}
        arguments = [
            *(
                "run",
                "--run-dir",
                str(self.run_dir),
                *SMALL,
                f"teacher.base_url={self.url}",
                *self.options,
            ),
            *(f"budget.{name}={cap}" for name, cap in caps.items() if cap is not None),
        ]
        self.command(*arguments)
        assert self.process is not None
        return self.process

    def strike(
        self,
        blow: Blow,
        at_calls: int,
        delay: float,
        *,
        before_next: Callable[[], None] | None = None,
    ) -> None:
        """Hit the run some time after the server has received so many calls, then go on.

        Some calls later the server waits for the blow: on a busy machine the run would often be
        over before. At least one call comes after the death of an engine: a run whose engine dies
        again and again before it answers anything stops and says so.
        """
        at_calls = max(at_calls, self._next_blow)
        process = self.process
        assert process is not None
        number = _SIGNALS.get(blow, signal.SIGKILL)
        victim: Victim = "driver" if blow in _SIGNALS else blow  # type: ignore[assignment]
        self.server.holds_at = at_calls + _HOLDS_AFTER
        try:
            for is_time in (
                lambda: "run folder:" in process.said(),  # a start of Python's is not the run's
                lambda: len(self.server.calls) >= at_calls,
                lambda: bool(process.victims(victim)),
            ):
                if not process.wait_until(is_time, LIMIT_S):
                    return
            time.sleep(delay)
            before = self.stored()
            if not process.kill(victim, number):
                return
        finally:
            self.server.holds_at = None
        self.kills += 1
        if blow == "engine":
            self._next_blow = len(self.server.calls) + 1
        if blow not in _ENDS_THE_DRIVER:
            self.crashed(before)
            return
        status = self._end_of_driver()
        if blow in _SIGNALS:
            self._look_at(status, expected=(130,))
        elif blow == "raylet":  # Ray ends its driver then, in C++: nothing of ours can speak
            self.statuses.append(status)
        process.wait_until(lambda: not process.victims("engine"), 1.0)
        process.end()
        if before_next is not None:
            before_next()
        self.crashed()
        self.start()

    def finish(self, expected: Sequence[int] = (0,)) -> int:
        """Wait for the run to end by itself; return its exit status."""
        assert self.process is not None
        status = self._end_of_driver()
        self._look_at(status, expected)
        self.process.end()
        return status

    def stored(self) -> frozenset[str]:
        """Return the keys of the answers in the run's store."""
        return stored_in(self.run_dir)

    def history(self, expected: dict[str, object] | None) -> History:
        """Return what happened."""
        return History(
            calls=tuple(self.server.calls),
            crashes=tuple(self.crashes),
            ledger=ledger_of(self.run_dir, *self.other_runs),
            limits=self.limits,
            complete=bool(self.statuses) and self.statuses[-1] == 0,
            tables=tables_of(self.run_dir),
            expected=expected,
        )

    def crashed(self, stored: frozenset[str] | None = None) -> None:
        """Note that a life has ended, and what the store held; by default, what it holds now."""
        stored = self.stored() if stored is None else stored
        self.crashes.append(Crash(self.server.life, stored, CONCURRENCY))
        self.server.life += 1

    def said(self) -> str:
        """Return what the last start has printed."""
        assert self.process is not None
        return self.process.said()

    def command(self, *arguments: str) -> None:
        """Start another command of `baldistill`; `finish` waits for it."""
        output = self.folder / f"start-{self._starts}.txt"
        self._starts += 1
        self.process = RunProcess.start([*arguments], self.folder, output, **self.variables)

    def _end_of_driver(self) -> int:
        """Wait for the driver to end; return its exit status, or STUCK."""
        assert self.process is not None
        try:
            return self.process.driver.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            return STUCK

    def _look_at(self, status: int, expected: Sequence[int]) -> None:
        """Note an exit status, and what of the output a user could do nothing with."""
        self.statuses.append(status)
        said = self.said()
        if status not in expected:
            self.problems.append(f"exit status {status}: {said[-300:]!r}")
        elif status != 0 and not _TOLD.search(said):
            self.problems.append(f"exit status {status} without a message: {said[-300:]!r}")
        if "Traceback" in said:
            self.problems.append(f"a traceback: {said[-300:]!r}")


@contextmanager
def opened(
    folder: Path, port: int, *, corpus: Path | None = None, latency: float = 0.05, **fields: object
) -> Iterator[Round]:
    """Open a round in a new folder; its server ends with the block, and so do its processes.

    Rounds whose tables are compared have one port: a teacher's URL is part of each request's id.
    `corpus` is a run folder whose corpus is taken over.
    """
    server = Witness(latency=latency, spread=0.2)
    folder.mkdir(parents=True)
    with running(server, port) as url:
        this = Round(folder, server, url, **fields)  # type: ignore[arg-type]
        if corpus is not None:
            copy_corpus(corpus, folder / "run")
        try:
            yield this
        finally:
            if this.process is not None:
                this.process.end()


def copy_corpus(source: Path, target: Path) -> None:
    """Begin a run folder behind its first step, which is the same in every round."""
    marker = layout.marker(layout.CORPUS_STEP)
    (target / marker).parent.mkdir(parents=True)
    shutil.copy(source / marker, target / marker)  # not the config: its caps are not the round's
    for name in (layout.TRAIN, layout.EVALUATION, layout.QUARANTINE, layout.BUNDLED_SOURCE):
        if (source / name).exists():
            shutil.copytree(source / name, target / name)


def stored_in(run_dir: Path) -> frozenset[str]:
    """Return the keys of the answers in the store of a run folder."""
    store = ResponseStore(Storage.open(run_dir / layout.RESPONSES))
    return frozenset(key_of(name) for name in store.index(store.segments()))


def tables_of(run_dir: Path) -> dict[str, object]:
    """Return what a run decides up to its students, free of times, caps and the order of rows."""
    found: dict[str, object] = {}
    for path in sorted(run_dir.glob("stages/*/*.parquet")):
        if path.name != "responses.parquet":
            rows = pq.read_table(path).to_pylist()
            found[str(path.relative_to(run_dir))] = sorted(map(str, rows))
    for path in sorted(run_dir.glob("stages/*/*.json")):
        if path.name not in ("caps.json", "metrics.json"):
            found[str(path.relative_to(run_dir))] = json.loads(path.read_text("utf-8"))
    return found


def ledger_of(*run_dirs: Path) -> Ledger | None:
    """Return what the ledgers of run folders say together; None if there is none."""
    ledgers = []
    for run_dir in run_dirs:
        if (run_dir / layout.LEDGER).exists():
            total = replay(Storage.open(run_dir), Caps()).summary().total
            tokens = total.prompt_tokens + total.completion_tokens + total.held_tokens
            ledgers.append((total.units, total.calls, tokens))
    return Ledger(*map(sum, zip(*ledgers, strict=True))) if ledgers else None


def random_blows(
    blows: Sequence[Blow], number: int, num_calls: int, rng: random.Random
) -> list[tuple[Blow, int, float]]:
    """Draw blows of all kinds, each with the calls that come before it and a delay in seconds."""
    moments = sorted(rng.randrange(num_calls) for _ in range(number))
    kinds = [blows[i % len(blows)] for i in range(number)]
    rng.shuffle(kinds)
    return [(kind, calls, rng.random() * 0.3) for kind, calls in zip(kinds, moments, strict=True)]


def judge(this: Round, expected: dict[str, object] | None) -> tuple[History, list[str]]:
    """Return what happened in a round and what was wrong with it."""
    history = this.history(expected)
    return history, [*violations(history), *this.problems]
