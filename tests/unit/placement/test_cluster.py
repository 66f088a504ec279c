"""Attaching to Ray, and what comes out of it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from baldistill.disk_errors import disk_problem
from baldistill.errors import ResourceError, UserError
from baldistill.placement.cluster import connected
from baldistill.placement.local_ray import local_ray
from baldistill.progress.counter import Figures, Report, counted, start_counter
from baldistill.progress.display import Display
from baldistill.ray_patches import JOB_CONFIG

pytestmark = pytest.mark.ray


def test_a_running_ray_is_used_and_stays(ray_session: None) -> None:
    import ray

    with connected() as cluster:
        assert cluster.num_cpus == 4
    assert ray.is_initialized()


def run_pass(error: Exception) -> None:
    import ray.data

    def fail(batch: pa.Table, report: Report) -> pa.Table:
        raise error

    counter = start_counter()
    with Display(quiet=True).remote_task("fail", 3, counter), connected():
        ray.data.range(3).map_batches(counted(fail, counter), batch_format="pyarrow").take_all()


def test_what_a_user_did_comes_out_of_rays_wrappings(ray_session: None) -> None:
    with pytest.raises(UserError) as caught:
        run_pass(UserError("cannot load the model 'nothing'"))
    assert str(caught.value) == "cannot load the model 'nothing'"


def test_a_full_disk_in_another_process_is_named(ray_session: None) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    error.filename = "/runs/a/part.parquet"
    with pytest.raises(Exception, match="No space") as caught:
        run_pass(error)
    assert str(disk_problem(caught.value)).startswith("/runs/a/part.parquet: the disk is full")


def test_a_defect_stays_a_defect(ray_session: None) -> None:
    with pytest.raises(Exception, match="ours") as caught:
        run_pass(KeyError("ours"))
    assert not isinstance(caught.value, UserError)


def test_rows_are_counted_where_they_are_worked_on(ray_session: None) -> None:
    import ray
    import ray.data

    def half_told(batch: pa.Table, report: Report) -> pa.Table:
        report(len(batch) // 2, "")
        return batch

    counter = start_counter()
    with Display(quiet=True).remote_task("count", 100, counter):
        ray.data.range(100).map_batches(
            counted(half_told, counter), batch_format="pyarrow", batch_size=10
        ).take_all()
    assert ray.get(counter.figures.remote()) == Figures(100)


def test_an_address_where_no_cluster_answers_is_an_error() -> None:
    code = (
        "from baldistill.placement.cluster import connected\n"
        "from baldistill.errors import ResourceError\n"
        "try:\n    with connected('127.0.0.1:1'): pass\n"
        "except ResourceError as error: print('told:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False
    )
    assert "told: no Ray cluster answers at '127.0.0.1:1'" in done.stdout, done.stderr
    assert issubclass(ResourceError, UserError)


MIRROR = """
import os, sys, ray
from baldistill.placement.cluster import connected

with connected(sys.argv[1]):
    print("told:", ray.get(ray.remote(num_cpus=0)(lambda: os.environ.get("HF_ENDPOINT")).remote()))
"""


@pytest.mark.parametrize(
    "job", ["", '{"runtime_env": {"env_vars": {"HF_ENDPOINT": "http://a.job"}}}']
)
def test_workers_of_a_cluster_read_the_drivers_hub(ray_session: None, job: str) -> None:
    """Also where a submitted job has named it."""
    import ray

    mirror = "http://a.job" if job else "http://a.mirror"
    done = subprocess.run(
        [sys.executable, "-c", MIRROR, ray.get_runtime_context().gcs_address],
        env={**os.environ, "HF_ENDPOINT": mirror, **({JOB_CONFIG: job} if job else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"told: {mirror}" in done.stdout, done.stderr


LOOK = """
import glob, json, os, re, ray
from baldistill.placement.cluster import connected

@ray.remote
class Engine:
    def token(self): return os.environ["RAY_AUTH_TOKEN"]

@ray.remote(max_retries=1)
def die_once():
    if not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), 9)

def family():
    found, size = {str(os.getpid())}, 0
    while len(found) > size:
        size = len(found)
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                if open(path).read().rpartition(")")[2].split()[1] in found:
                    found.add(path.split("/")[2])
            except OSError:
                pass
    return found

def open_sockets():
    held = set()
    for pid in family():
        for path in glob.glob(f"/proc/{pid}/fd/*"):
            try:
                held |= set(re.findall(r"socket:.(\\d+)", os.readlink(path)))
            except OSError:
                pass
    rows = [row.split() for name in ("tcp", "tcp6") for row in open(f"/proc/net/{name}")]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in held]

before = dict(os.environ)
with connected():
    engine = Engine.remote()
    token = ray.get(engine.token.remote())
    session = ray._private.worker._global_node.get_session_dir_path()
    kinds = sorted(ray._private.worker._global_node.all_processes)
    ray.data.range(1).take_all()
    actors = [actor["ActorClassName"] for actor in ray._private.state.actors().values()]
    hosts = open_sockets()
    ray.get(die_once.remote())
changed = [name for name, value in before.items() if os.environ.get(name) != value]
changed += [name for name in os.environ if "AUTH" in name]
print(json.dumps([token, session, hosts, changed, kinds, actors]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_local_ray_is_out_of_reach_for_others_and_quiet(tmp_path: Path) -> None:
    """Its sockets are on the loopback; its token and its files are this user's alone."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={n: v for n, v in os.environ.items() if not n.startswith("RAY_")}
        | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=1500,
        cwd=tmp_path,
        umask=0,
        check=False,
    )
    token, session, hosts, changed, kinds, actors = json.loads(done.stdout.splitlines()[-1])
    assert (tmp_path / "died").exists()
    assert "retr" not in done.stdout + done.stderr, "Ray's own retries"
    assert "worker died" not in done.stdout + done.stderr
    assert len(hosts) > 5, done.stderr
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert set(hosts) <= loopback
    assert len(token) == 64
    assert not any(path.is_file() for path in tmp_path.rglob("*token*"))
    private = [path for path in Path(session).parents if not path.stat().st_mode & 0o077]
    assert private, "another user can reach the sockets and logs"
    assert changed == []
    assert kinds == ["gcs_server", "raylet"], "what nobody needs here costs every start seconds"
    assert actors == ["Engine"]


def test_a_local_ray_without_a_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ResourceError, match="run programs as you"), local_ray(0, False):
        pass


KILL_THE_RAYLET = """
import glob, os, signal
from baldistill.errors import UserError
from baldistill.placement.cluster import connected

def raylets():
    for path in glob.glob("/proc/[0-9]*/stat"):
        name, fields = open(path).read().split("(", 1)[1].rsplit(")", 1)
        if name == "raylet" and fields.split()[:2] != ["Z", str(os.getpid())]:
            if fields.split()[1] == str(os.getpid()):
                yield int(path.split("/")[2])

try:
    with connected():
        for pid in raylets():
            os.kill(pid, signal.SIGKILL)
        while list(raylets()):
            pass
        raise RuntimeError("Socket closed")  # one of many errors that Ray has for it
except UserError as error:
    print("told:", error, flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the processes are looked up in /proc")
def test_the_death_of_rays_own_process_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILL_THE_RAYLET],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert "told: Ray's own process on this machine (its raylet) has died" in done.stdout, done
