"""One run in a folder, on stores that have no locks of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pyarrow.fs as pafs
import pytest

from baldistill.errors import UserError
from baldistill.run_folder.lock import only_run_in
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage


@dataclass(frozen=True)
class Nothing:
    """The result of a step that reports nothing."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A store in memory, whose objects appear whole, as on S3."""
    fs = pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem("memory")))
    return Storage(f"test://{tmp_path.name}", fs, f"/{tmp_path.name}")


def signs_of_life(storage: Storage) -> list[str]:
    return storage.list("_lock")


def leave_sign_of_life(storage: Storage) -> None:
    """Write the sign of life of a run on another machine."""
    owner = {"user": "u", "host": "elsewhere", "pid": 1, "since": "today", "machine": "another"}
    content = {**owner, "started": "1", "state": "holds", "beats": 7}
    storage.write_text("_lock/0000.json", json.dumps(content))


def test_a_second_run_is_refused_while_the_first_shows_life(storage: Storage) -> None:
    refused = pytest.raises(UserError, match=r"another run is at work .*process \d+ of ")
    with only_run_in(storage, beat=0.02):
        with refused, only_run_in(storage, beat=0.02):
            pytest.fail("two runs in one folder")
        assert len(signs_of_life(storage)) == 1, "the one that was refused left no sign of life"
    assert signs_of_life(storage) == []
    with only_run_in(storage, beat=0.02):
        pass


def test_of_many_that_come_at_once_one_gets_in(storage: Storage) -> None:
    inside: list[int] = []
    most: list[int] = []
    refused: list[UserError] = []
    gate, done = threading.Barrier(4), threading.Event()

    def enter(number: int) -> None:
        gate.wait()
        try:
            with only_run_in(storage, beat=0.05):
                inside.append(number)
                most.append(len(inside))
                done.wait(60)
        except UserError as error:
            refused.append(error)
            if len(refused) == 3:
                done.set()

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(refused) == 3


def test_a_silent_owner_elsewhere_is_dead_after_a_while(storage: Storage) -> None:
    leave_sign_of_life(storage)
    said: list[str] = []
    with only_run_in(storage, said.append, beat=0.02, silence=0.2):
        assert len(signs_of_life(storage)) == 1
    assert said == ["waiting for a sign of life of process 1 of u on elsewhere, since today ..."]


def test_a_killed_process_of_this_machine_is_dead_at_once(tmp_path: Path) -> None:
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pyarrow.fs as pafs\n"
            "from baldistill.run_folder.lock import only_run_in\n"
            "from baldistill.storage import Storage\n"
            "fs = pafs.SubTreeFileSystem(sys.argv[1], pafs.LocalFileSystem())\n"
            "with only_run_in(Storage('test://x', fs, 'run')):\n"
            "    print('in', flush=True)\n"
            "    time.sleep(1000)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    holder.kill()
    while Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)  # a zombie counts as dead, too
    with only_run_in(Storage("test://x", fs, "run"), beat=0.01, silence=1000.0):
        pass
    holder.wait()


def test_a_run_that_lost_its_folder_commits_no_more(storage: Storage) -> None:
    def step(name: str) -> None:
        Chain(storage).step(name, {}, Nothing, Nothing)

    def until_refused() -> None:
        while True:
            step("again")
            storage.delete("_commits/again.json")

    with only_run_in(storage, beat=0.02):
        step("first")
        storage.delete("_lock")  # as a run does that counts this one as dead
        with pytest.raises(UserError, match="another run took over"):
            until_refused()
        assert storage.list("_commits") == ["first.json"]
    with only_run_in(storage, beat=0.02):  # the same process may come again
        step("second")
