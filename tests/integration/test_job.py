"""A job on a real head node, token authentication on: its log, its end by a stop, resuming.

cluster/submit.sh submits it, which is `ray job submit --working-dir . -- baldistill run CONFIG`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from runs import answered, decided, wait_until
from servers.fault_server import FaultServer, running

from baldistill.commands.run import run
from baldistill.config.loading import load_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SMALL = [
    "stages=1",
    "budget.total=60",
    "budget.policy=natural",
    "data.bundled_rows=400",
    "data.bundled_evaluation_per_domain=2",
    "evaluation.base_student=false",
    "student.epochs=1",
    "student.response.max_new_tokens=32",
    "rationale.on_mismatch=label_only",
    "rationale.max_attempts=1",
    "tail.fill=none",
    "student.resources.replicas=1",
    "teacher.kind=openai",
    "teacher.model=m",
]


@dataclass(frozen=True)
class Head:
    """A head node of this test's own.

    Attributes:
        address: Of its dashboard.
        environment: That reaches it.
        logs: Folder of its log files.
    """

    address: str
    environment: dict[str, str]
    logs: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def opened(port: int) -> Callable[[], bool]:
    def probe() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    return probe


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head node with dashboard and token, on ports that were free a moment ago."""
    home = tmp_path_factory.mktemp("home")
    port, dashboard = free_port(), free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",  # before a stopped job is killed: a slow machine's time
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    ray = str(BIN / "ray")
    sessions = tempfile.mkdtemp(prefix="ray-")  # a socket's path has 107 bytes at most
    subprocess.run(
        [ray, "get-auth-token", "--generate"],
        env=environment,
        check=True,
        timeout=600,
        stdout=subprocess.DEVNULL,
    )
    # in the foreground: `ray stop` would stop every Ray of this machine
    command = [
        *(ray, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"),
        *(f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        # its default port may be taken by another Ray of this machine
        *(f"--dashboard-agent-listen-port={free_port()}", f"--temp-dir={sessions}"),
    ]
    is_up = opened(dashboard)
    for _ in range(6):  # on a busy machine Ray gives up after 30 seconds
        process = subprocess.Popen(command, env=environment, start_new_session=True, text=True)
        while process.poll() is None and not is_up():
            time.sleep(0.05)
        if process.poll() is None:
            break
    assert process.poll() is None, "ray start ended again and again"
    logs = Path(sessions) / "session_latest" / "logs"
    yield Head(environment["RAY_API_SERVER_ADDRESS"], environment, logs)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    shutil.rmtree(sessions, ignore_errors=True)


@dataclass(frozen=True)
class Teacher:
    """A server that can be made to fall silent, which holds a run that needs it.

    Attributes:
        server: What it does.
        url: Where it is.
    """

    server: FaultServer
    url: str


@pytest.fixture(scope="module")
def teacher() -> Iterator[Teacher]:
    server = FaultServer()
    with running(server) as url:
        yield Teacher(server, url)


class Job:
    """A job that submit.sh sent and follows."""

    def __init__(self, head: Head, teacher: Teacher, run_dir: Path, output: Path) -> None:
        """Submit; again while the head's agent is still starting."""
        self._head, self._output = head, output
        deadline = time.monotonic() + 1500
        while True:
            with output.open("w") as file:
                self.process = subprocess.Popen(
                    [
                        *("cluster/submit.sh", "examples/quickstart.yaml"),
                        *("--run-dir", str(run_dir), "--json", *SMALL),
                        f"teacher.base_url={teacher.url}",
                    ],
                    cwd=ROOT,
                    env=head.environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            while not self._name() and self.process.poll() is None:
                time.sleep(0.05)
            if self._name():
                self.name = self._name()
                return
            assert "No available agent" in output.read_text(), output.read_text()
            assert time.monotonic() < deadline
            time.sleep(1)

    def _name(self) -> str:
        found = re.search(r"Job '(raysubmit_\w+)' submitted", self._output.read_text())
        return found[1] if found else ""

    def end(self) -> str:
        """Wait for the job's end; its log."""
        self.process.wait(timeout=900)
        return (self._head.logs / f"job-driver-{self.name}.log").read_text()

    def stop(self) -> str:
        """`ray job stop`, which waits until the job has ended; the job's log."""
        done = subprocess.run(
            [str(BIN / "ray"), "job", "stop", "--address", self._head.address, self.name],
            env=self._head.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"Job '{self.name}' was stopped" in done.stdout + done.stderr
        return self.end()


@dataclass(frozen=True)
class Stopped:
    """A job that was stopped, and the job of the same command after it.

    Attributes:
        run_dir: Of both.
        log: Of the first.
        before: Request ids that were answered when it was stopped.
        was_finished: Whether it had its result by then.
        log_again: Of the second.
    """

    run_dir: Path
    log: str
    before: list[str]
    was_finished: bool
    log_again: str


@pytest.fixture(scope="module")
def stopped(head: Head, teacher: Teacher, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """The teacher falls silent after 20 answers, so that the job is at work until it is stopped."""
    folder, server = tmp_path_factory.mktemp("stopped"), teacher.server
    run_dir = folder / "run"
    server.answers_at_most = server.answered.total() + 20
    job = Job(head, teacher, run_dir, folder / "output")
    wait_until(lambda: bool(answered(run_dir)), job.process)
    log = job.stop()
    before, was_finished = answered(run_dir), (run_dir / "metrics.json").exists()

    server.answers_at_most = None
    again = Job(head, teacher, run_dir, folder / "output-again")
    log_again = again.end()
    assert again.process.returncode == 0, (folder / "output-again").read_text()
    return Stopped(run_dir, log, before, was_finished, log_again)


def test_a_jobs_log_shows_progress_in_plain_lines(stopped: Stopped) -> None:
    log = stopped.log_again
    for step in ("annotate", "train", "evaluate"):
        assert re.search(rf"^  {step}.*: \d+ in [\d.]+ s \([\d.,]+/s\)", log, re.MULTILINE), log
    assert {c for c in stopped.log + log if not c.isprintable()} <= {"\n", "\t"}, "no terminal"
    metrics = json.loads((stopped.run_dir / "metrics.json").read_text())
    assert metrics["budget"]["total"]["units"] == 60
    assert json.loads(log.splitlines()[-1])["macro"] == metrics["macro"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_stopped_job_ends_cleanly_and_goes_on_when_submitted_again(
    stopped: Stopped, teacher: Teacher, tmp_path: Path
) -> None:
    assert "interrupted; to resume: the same command" in stopped.log
    assert 0 < len(stopped.before) <= 20
    assert not stopped.was_finished

    options = [*SMALL, f"teacher.base_url={teacher.url}"]
    undisturbed = load_config(ROOT / "examples" / "quickstart.yaml", options)
    run(undisturbed, run_dir=tmp_path / "run", quiet=True)
    assert decided(stopped.run_dir) == decided(tmp_path / "run")
    ids = answered(stopped.run_dir)
    assert len(ids) == len(set(ids)), "an answered call was made again"
    assert set(stopped.before) <= set(ids)
