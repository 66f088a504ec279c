"""One run in a folder, on stores that have no locks of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import fsspec
import fsspec.implementations.memory
import pyarrow.fs as pafs
import pytest
from runs import mistake

from baldistill.errors import FolderInUseError, UserError
from baldistill.run_folder.lock import check_still_held, only_run_in, only_user_of
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


def leave_sign_of_life(storage: Storage, **more: object) -> None:
    """Write the sign of life of a run on another machine."""
    owner = {"user": "u", "host": "elsewhere", "pid": 1, "since": "today", "machine": "another"}
    content = {**owner, "started": "1", "state": "holds", "beats": 7, **more}
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

    taken = pytest.raises(UserError, match="another run took over")
    with taken, only_run_in(storage, beat=1000.0):  # only the step itself can notice
        step("first")
        storage.delete("_lock")  # as a run does that counts this one as dead
        until_refused()
    assert storage.list("_commits") == ["first.json"]
    with only_run_in(storage, beat=0.02):  # the same process may come again
        step("second")


def test_a_run_that_lost_its_folder_is_interrupted_whatever_it_does(storage: Storage) -> None:
    def lose_it() -> None:
        with only_run_in(storage, beat=0.02):
            storage.delete("_lock")
            threading.Event().wait(60)  # as in an hour of training
            pytest.fail("it was not interrupted")

    with pytest.raises(UserError, match="another run took over"):
        lose_it()


def test_a_sign_of_life_that_was_written_after_the_takeover_is_void(storage: Storage) -> None:
    """Its run was suspended between its look and its writing, so the sign is there again."""
    with only_run_in(storage, beat=1000.0):
        (mine,) = signs_of_life(storage)
        leave_sign_of_life(storage, took=["another.json"])
        check_still_held(storage)
        leave_sign_of_life(storage, took=[mine], state="asks")
        check_still_held(storage)
        leave_sign_of_life(storage, took=[mine])
        with pytest.raises(UserError, match="another run took over"):
            check_still_held(storage)


def test_a_takeover_is_written_in_the_sign_of_life_of_the_new_owner(storage: Storage) -> None:
    leave_sign_of_life(storage)
    with only_run_in(storage, beat=0.02, silence=0.2):
        (mine,) = signs_of_life(storage)
        assert storage.read_json(f"_lock/{mine}")["took"] == ["0000.json"]


class Moody(fsspec.implementations.memory.MemoryFileSystem):
    """A store that fails with errors of its own kind, while it is told to."""

    protocol = "moody"
    cachable = False
    fails = threading.Event()

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        if mode == "wb" and self.fails.is_set():
            raise RuntimeError("an error that is no OSError")
        return super()._open(path, mode, **options)


def test_the_sign_of_life_outlives_errors_of_any_kind(tmp_path: Path) -> None:
    fs = pafs.PyFileSystem(pafs.FSSpecHandler(Moody()))
    storage = Storage(f"test://{tmp_path.name}", fs, f"/{tmp_path.name}")
    said: list[str] = []

    def beats() -> int:
        (name,) = signs_of_life(storage)
        while True:
            with suppress(ValueError):  # this store shows a file that is half written
                return int(storage.read_json(f"_lock/{name}")["beats"])

    def wait_until(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with only_run_in(storage, said.append, beat=0.02):
        Moody.fails.set()
        wait_until(lambda: bool(said))
        Moody.fails.clear()
        before = beats()
        wait_until(lambda: beats() > before + 2)
    assert [text.partition(":")[0] for text in said] == ["warning"]
    assert "no OSError" in said[0]


@contextmanager
def another_process(holds: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds something in a folder, until the block ends."""
    code = (
        "import sys, time\n"
        "from baldistill.run_folder.lock import *\n"
        "from baldistill.storage import Storage\n"
        f"with {holds}:\n"
        "    print('in', flush=True)\n"
        "    time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        yield holder
        holder.kill()


def test_a_suspended_run_keeps_a_folder_on_a_disk(tmp_path: Path) -> None:
    with another_process("only_run_in(Storage.open(sys.argv[1]))", tmp_path) as holder:
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        with (
            pytest.raises(FolderInUseError),
            only_run_in(Storage.open(tmp_path), silence=0.0),
        ):
            pytest.fail("two runs in one folder")
    with only_run_in(Storage.open(tmp_path)):
        pass


def test_a_lock_that_is_a_link_does_not_touch_its_target(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("do not empty")
    for target in (precious, tmp_path / "not there"):
        link = tmp_path / "run" / ".lock"
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with (
            pytest.raises(UserError, match=r"\.lock is a symbolic link"),
            only_run_in(Storage.open(tmp_path / "run")),
        ):
            pytest.fail("the lock is a link")
    assert precious.read_text() == "do not empty"
    assert not (tmp_path / "not there").exists()


def test_a_store_that_a_run_uses_is_closed_to_the_runs_of_other_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the store in the folder of a run: its answers may be shared with `--store`."""
    store = tmp_path / "first" / "responses"
    holds = (
        "only_run_in(Storage.open(sys.argv[1])), "
        "only_user_of(Storage.open(sys.argv[1]).sub('responses'), Storage.open(sys.argv[1]))"
    )
    with another_process(holds, tmp_path / "first"):
        second = tmp_path / "second"
        told = mistake(capsys, "run", "--run-dir", str(second), "--store", str(store))
    assert f"answers in {store} are in use" in told.replace("\n", " ")
    assert "baldistill compare" in told
    assert [path.name for path in second.iterdir()] == [".lock"], "it has not begun"


def test_whoever_is_dead_in_the_run_folder_is_dead_in_its_store(storage: Storage) -> None:
    """Waiting again for its silence would take another minute."""
    store = storage.sub("responses")
    leave_sign_of_life(storage)
    leave_sign_of_life(store)
    with (
        only_run_in(storage, beat=0.02, silence=0.2),
        only_user_of(store, storage),  # it would wait for a minute
    ):
        assert signs_of_life(store) == signs_of_life(storage)
        assert signs_of_life(store) != ["0000.json"]
    assert signs_of_life(store) == signs_of_life(storage) == []
