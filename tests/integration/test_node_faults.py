"""Nodes die under a run: while annotating, scoring and training; and the head between stages.

A cluster of three nodes is simulated on this machine (`ray.cluster_utils.Cluster`) in a process
of its own: a head without CPUs, where the driver runs, and two workers. What is killed when is
decided by what the run folder holds and the teacher's server has seen, never by time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import answered, decided
from servers.fault_server import FaultServer, running

from baldistill.commands.run import run as run_here
from baldistill.config.loading import load_config

pytestmark = pytest.mark.slow

CONFIG = [
    "stages=2",
    "budget.total=96",
    "selection.candidates_per_quota=12",
    "data.bundled_rows=600",
    "data.bundled_evaluation_per_domain=1",
    "evaluation.base_student=false",
    "evaluation.every_stage=false",
    "student.epochs=2",
    "student.batch_size=4",
    "student.num_workers=2",
    "student.response.max_new_tokens=24",
    "rationale.on_mismatch=label_only",
    "rationale.max_attempts=1",
    "tail.fill=none",
    "teacher.kind=openai",
    "teacher.model=m",
    "teacher.concurrency=4",
    "teacher.resources={replicas: 2, batch_size: 4}",
    "student.resources={replicas: 1, batch_size: 8}",
]

KEEPER = """
import sys, time
from pathlib import Path
from ray.cluster_utils import Cluster
from rays import started

def start():
    head = {"num_cpus": 0, "include_dashboard": False}  # a dashboard is ten processes more
    cluster = started(lambda: Cluster(initialize_head=True, head_node_args=head))
    return cluster, [cluster.add_node(num_cpus=2, wait=False) for _ in range(2)]

def runs(node, name, library):
    raylet = node.all_processes["raylet"][0].process.pid
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and name in (folder / "cmdline").read_text():
                if library in (folder / "maps").read_text():
                    return True
        except OSError:
            pass
    return False

def find(name, library=""):
    while True:
        for node in workers:
            if runs(node, name, library):
                return node
        time.sleep(0.02)

cluster, workers = start()
cluster.wait_for_nodes(timeout=300)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.startswith("kill "):  # the first node with such a process; without a word
        victim = find(*line.split()[1:])
        workers.remove(victim)
        cluster.remove_node(victim, allow_graceful=False)
    elif line == "add\\n":
        workers.append(cluster.add_node(num_cpus=2))
    elif line == "restart\\n":
        for node in [*workers, cluster.head_node]:
            cluster.remove_node(node, allow_graceful=False)
        cluster, workers = start()
        cluster.wait_for_nodes(timeout=300)
    print(cluster.address, flush=True)
cluster.shutdown()
"""


class SimulatedCluster:
    """Tells the process that holds the cluster what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("home", "tmp/ray"):
            (folder / name).mkdir(parents=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "RAY_TMPDIR": str(folder / "tmp"),
            "OMP_NUM_THREADS": "1",
            "RAY_health_check_period_ms": "500",  # a dead node is noticed sooner
            # a driver waits a minute for a dead head by itself
            "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
            "RAY_idle_worker_killing_time_threshold_ms": "300000",
        }
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.address = self._answer()

    def tell(self, what: str) -> None:
        assert self._keeper.stdin is not None
        print(what, file=self._keeper.stdin, flush=True)
        self.address = self._answer()

    def close(self) -> None:
        try:
            self._keeper.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing of its group may be left
                os.killpg(self._keeper.pid, signal.SIGKILL)

    def _answer(self) -> str:
        assert self._keeper.stdout is not None
        address = self._keeper.stdout.readline().strip()
        assert address, "the simulated cluster ended"
        return address


@pytest.fixture(scope="module")
def cluster() -> Iterator[SimulatedCluster]:
    folder = Path(tempfile.mkdtemp(prefix="nf-"))  # short: sockets have paths of 107 bytes
    simulated = SimulatedCluster(folder)
    yield simulated
    simulated.close()
    shutil.rmtree(folder, ignore_errors=True)


class Run:
    """A run as a process; the same folder resumes."""

    def __init__(self, cluster: SimulatedCluster, run_dir: Path, url: str) -> None:
        self.cluster, self.run_dir = cluster, run_dir
        self.output = run_dir.with_suffix(".log")
        command = [sys.executable, "-m", "baldistill", "run", "--run-dir", str(run_dir)]
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [*command, "--address", cluster.address, *CONFIG, f"teacher.base_url={url}"],
                env=cluster.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until(self, moment: Callable[[], bool], before: str) -> None:
        """Until something is seen, and before a step is committed."""
        deadline = time.monotonic() + 1500
        while not moment():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.02)
        assert not self.has(before), "too late: the step was over"

    def has(self, pattern: str) -> bool:
        return any(self.run_dir.glob(pattern))

    def finish(self) -> None:
        assert self.process.wait(timeout=900) == 0, self.output.read_text()


@pytest.fixture(scope="module")
def teacher() -> Iterator[tuple[FaultServer, str]]:
    """A server on loopback, and its URL, which is part of each request's id."""
    server = FaultServer()
    with running(server) as url:
        yield server, url


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: None, teacher: tuple[FaultServer, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same run on the Ray of all tests."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    options = [*CONFIG, "teacher.resources.replicas=1", f"teacher.base_url={teacher[1]}"]
    run_here(load_config(None, options), run_dir=run_dir, quiet=True)
    return run_dir


@pytest.mark.ray
@pytest.mark.timeout(3000)
def test_a_run_survives_its_nodes(
    undisturbed: Path,
    teacher: tuple[FaultServer, str],
    cluster: SimulatedCluster,
    tmp_path: Path,
) -> None:
    server, url = teacher
    asked = server.received.copy()  # by the undisturbed run: each question once
    server.answers_at_most = server.answered.total() + 16  # then it falls silent

    run = Run(cluster, tmp_path / "disturbed", url)
    run.wait_until(lambda: server.working == 8, "_commits/stages/01/annotated.json")
    cluster.tell("kill EngineActor")  # and nobody replaces the node for now
    server.answers_at_most = None
    run.wait_until(lambda: run.has("_commits/stages/01/annotated.json"), "_commits/stages/02/*")
    cluster.tell("add")  # two training workers need it

    run.wait_until(
        lambda: run.has("_commits/stages/01/student.json"), "_commits/stages/02/scored.json"
    )
    cluster.tell("restart")
    assert run.process.wait(timeout=200) != 0, "no driver outlives its head"
    before = set(answered(run.run_dir))

    run = Run(cluster, run.run_dir, url)
    run.wait_until(
        lambda: run.has("stages/02/scored/by-hash.parquet"), "_commits/stages/02/scored.json"
    )
    cluster.tell("kill EngineActor libtorch")  # the student's, not the teacher's
    cluster.tell("add")

    def both_train() -> bool:
        return len(list((cluster.folder / "tmp").glob("baldistill-student-*"))) == 2

    run.wait_until(both_train, "_commits/stages/02/student.json")
    cluster.tell("kill RayTrainWorker")
    cluster.tell("add")
    run.finish()

    ids = answered(run.run_dir)
    assert len(ids) == len(set(ids)), "an answered call was made again"
    assert before <= set(ids)
    assert decided(run.run_dir) == decided(undisturbed)
    metrics = [json.loads((d / "metrics.json").read_text()) for d in (run.run_dir, undisturbed)]
    spent = [each.pop("budget") for each in metrics]
    assert metrics[0] == metrics[1]
    assert spent[0]["total"]["units"] == spent[1]["total"]["units"]
    again = server.received - asked - asked
    assert again.total() <= 8, "more than was in flight when the first node died"
    calls = [each["total"]["calls"] for each in spent]
    # of engines that died, both if they shared the node: eight in flight, and as many that they
    # had noted and were about to send
    assert calls[1] <= calls[0] <= calls[1] + 8 + 8
