"""What we rely on in Ray beyond its documented interface, looked at with each version of Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from baldistill import ray_patches


def test_a_new_version_of_ray_asks_for_a_look_at_each_patch() -> None:
    assert f"Ray {version('ray')}." in str(ray_patches.__doc__), "look at each entry, then say so"


def test_what_ray_does_not_document_is_still_there() -> None:
    assert all(issubclass(error, Exception) for error in ray_patches.lost_worker_errors())
    assert not ray_patches.is_remote_driver()


STARTS_RAY = """
import os, signal, sys
from ray._private.node import Node
from baldistill.ray_patches import keep_sigterm_handler

def end(*_):
    os._exit(7)

def start(*_, **__):  # where `ray.init` starts its processes, which takes seconds
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, end)
Node.__init__ = start
import ray
with keep_sigterm_handler():
    ray.init(include_dashboard=False)
"""


def test_the_program_keeps_its_own_handler_of_sigterm_while_ray_starts() -> None:
    done = subprocess.run([sys.executable, "-c", STARTS_RAY], capture_output=True, check=False)
    assert done.returncode == 7, done.stderr.decode()


STARTS_SLOWLY = """
import os, time
from pathlib import Path
from types import SimpleNamespace
import ray
from ray._private import node, services
from rays import started

def servers():
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, rest = (folder / "stat").read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == os.getpid() and "gcs_server" in (folder / "cmdline").read_text():
                found.append(state)
        except OSError:
            pass
    return found

def start():
    before.append(len(servers()))
    if len(before) == 2:  # the second try is not slow
        services.get_node, node.time = get_node, time
    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=2**27)

def not_yet(*_, **__):
    raise RuntimeError("no node yet")

before, get_node, clock = [], services.get_node, iter(range(0, 10**6, 31))  # a busy machine
services.get_node = not_yet
node.time = SimpleNamespace(**{**vars(time), "monotonic": lambda: next(clock)})
started(start)
assert before == [0, 0], before
assert len(servers()) == 1
ray.shutdown()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_a_start_that_was_too_slow_leaves_no_processes(tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", STARTS_SLOWLY],
        env={**known, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_program_without_a_handler_of_sigterm_gets_rays() -> None:
    from ray._private import utils

    def rays(*_: object) -> None:
        pytest.fail("nobody sends a signal here")

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with ray_patches.keep_sigterm_handler():
            utils.set_sigterm_handler(rays)
        assert signal.getsignal(signal.SIGTERM) is rays
    finally:
        signal.signal(signal.SIGTERM, before)
