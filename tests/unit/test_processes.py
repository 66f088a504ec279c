"""Processes that are there, that have ended, and that start."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from baldistill.processes import ProcessId, without_collector

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells")

TELL = "from baldistill.processes import ProcessId; print(ProcessId.current(), flush=True); input()"
WATCH = "import sys; from baldistill.processes import ProcessId; \
from baldistill.generation.actor import _end_with; _end_with(eval(sys.argv[1]))"


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_is_there_until_it_has_ended() -> None:
    assert not ProcessId.current().is_gone()
    other = start(TELL)
    assert other.stdout is not None
    name = eval(other.stdout.readline())
    assert name.pid == other.pid
    assert not name.is_gone()
    other.kill()
    while other.poll() is None:  # a zombie has ended, too
        pass
    assert name.is_gone()
    assert not replace(name, machine="another").is_gone()
    assert replace(ProcessId.current(), started="earlier").is_gone(), "its number was taken again"


def test_an_engine_ends_with_its_driver() -> None:
    driver = start(TELL)
    assert driver.stdout is not None
    engine = start(WATCH, driver.stdout.readline().strip())
    with pytest.raises(subprocess.TimeoutExpired):
        engine.wait(timeout=1)
    driver.kill()
    driver.wait()
    assert engine.wait(timeout=60) == 1


def test_the_collector_pauses_and_goes_on_as_it_was() -> None:
    assert gc.isenabled()
    with without_collector():
        assert not gc.isenabled()
        with without_collector():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError), without_collector():
        importlib.import_module("no_such_module")
    assert gc.isenabled()


LIGHT = """
import sys
from baldistill.processes import import_transformers
import_transformers()
from transformers.utils import is_sklearn_available
print("sklearn" in sys.modules, is_sklearn_available())
"""


def test_transformers_comes_without_scikit_learn_and_still_knows_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False", "True"], done.stderr
