"""Nodes die under a run: while annotating, scoring and training; and the head between stages.

A cluster of three nodes is simulated on this machine (`ray.cluster_utils.Cluster`) in a process
of its own: a head without CPUs, where the driver runs, and two workers. What is killed when is
decided by what the run folder holds, never by time.
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

pytestmark = pytest.mark.slow

CONFIG = [
    "stages=2",
    "budget.total=96",
    "selection.candidates_per_quota=12",
    "data.bundled_rows=1000",
    "data.bundled_evaluation_per_domain=2",
    "evaluation.base_student=false",
    "evaluation.every_stage=false",
    "student.epochs=2",
    "student.batch_size=4",
    "student.num_workers=2",
    "student.response.max_new_tokens=32",
    "rationale.on_mismatch=label_only",
    "teacher.resources={replicas: 2, batch_size: 1}",
    "student.resources={replicas: 2, batch_size: 8}",
]

KEEPER = """
import sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

def start():
    head = {"num_cpus": 0, "include_dashboard": False}  # a dashboard is ten processes more
    cluster = Cluster(initialize_head=True, head_node_args=head)
    return cluster, [cluster.add_node(num_cpus=2, wait=False) for _ in range(2)]

def runs(node, name):
    raylet = node.all_processes["raylet"][0].process.pid
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and name in (folder / "cmdline").read_text():
                return True
        except OSError:
            pass
    return False

def find(name):
    while True:
        for node in workers:
            if runs(node, name):
                return node
        time.sleep(0.02)

cluster, workers = start()
cluster.wait_for_nodes(timeout=300)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.startswith("kill "):  # the first node with such a process; without a word
        victim = find(line.split()[1])
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

    def __init__(self, cluster: SimulatedCluster, run_dir: Path) -> None:
        self.cluster, self.run_dir = cluster, run_dir
        self.output = run_dir.with_suffix(".log")
        command = [sys.executable, "-m", "baldistill", "run", "--run-dir", str(run_dir)]
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [*command, "--address", cluster.address, *CONFIG],
                env=cluster.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until(self, moment: Callable[[], bool], before: str) -> None:
        """Until something is seen, and before a step is committed."""
        deadline = time.monotonic() + 600
        while not moment():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.02)
        assert not self.has(before), "too late: the step was over"

    def has(self, pattern: str) -> bool:
        return any(self.run_dir.glob(pattern))

    def finish(self) -> None:
        assert self.process.wait(timeout=900) == 0, self.output.read_text()


@pytest.mark.timeout(3000)
def test_a_run_survives_its_nodes(cluster: SimulatedCluster, tmp_path: Path) -> None:
    undisturbed = Run(cluster, tmp_path / "undisturbed")
    undisturbed.finish()

    run = Run(cluster, tmp_path / "disturbed")
    run.wait_until(lambda: run.has("responses/*.parquet"), "_commits/stages/01/annotated.json")
    cluster.tell("kill EngineActor")  # and nobody replaces the node for now
    run.wait_until(lambda: run.has("_commits/stages/01/annotated.json"), "_commits/stages/02/*")
    cluster.tell("add")  # two training workers need it

    run.wait_until(
        lambda: run.has("_commits/stages/01/student.json"), "_commits/stages/02/scored.json"
    )
    cluster.tell("restart")
    assert run.process.wait(timeout=200) != 0, "no driver outlives its head"
    before = set(answered(run.run_dir))

    run = Run(cluster, run.run_dir)
    run.wait_until(
        lambda: run.has("stages/02/scored/by-hash.parquet"), "_commits/stages/02/scored.json"
    )
    cluster.tell("kill EngineActor")
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
    assert decided(run.run_dir) == decided(undisturbed.run_dir)
    metrics = [json.loads((r.run_dir / "metrics.json").read_text()) for r in (run, undisturbed)]
    assert metrics[0] == metrics[1]
