"""Disks that are full or fail, and files where folders should be: said with name and remedy."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from runs import mistake
from safetensors.numpy import save_file

from baldistill.disk_errors import disk_problem
from baldistill.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
A_FILE = "a file stands where a folder is needed"
A_FOLDER = "a folder stands where a file is needed"


def problem_of(action: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of many libraries
        action()
    return disk_problem(caught.value) or f"none: {caught.value!r}"


def test_libraries_report_in_their_own_ways(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("")
    folder.mkdir()
    disk = pafs.LocalFileSystem()
    rows = pa.table({"a": [1]})
    for expected, action in [
        (f"{folder}: {A_FOLDER}", lambda: folder.write_text("")),
        (f"{file}/x: {A_FILE}", lambda: (file / "x").mkdir()),
        (f"{file}: {A_FILE}", lambda: file.mkdir()),
        (f"{file}/x: {A_FILE}", lambda: disk.create_dir(f"{file}/x")),
        (f"{folder}: {A_FOLDER}", lambda: disk.open_output_stream(str(folder))),
        (f"{folder}: {A_FOLDER}", lambda: disk.open_input_stream(str(folder))),
        (f"{file}/x: {A_FILE}", lambda: pq.write_table(rows, f"{file}/x")),
        (f"{file}/", lambda: save_file({"a": np.zeros(1)}, file / "x")),
        (f"{file}: {A_FILE}", lambda: Storage.open(file / "run").write_text("x", "")),
        (f"{tmp_path}/{'n' * 300}: the name is", lambda: (tmp_path / ("n" * 300)).write_text("")),
    ]:
        assert problem_of(action).startswith(expected), problem_of(action)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_named_by_every_writer() -> None:
    full = "the disk is full: make room on it"
    assert problem_of(lambda: Path("/dev/full").write_text("x")).startswith(full)
    with pafs.LocalFileSystem().open_output_stream("/dev/full") as stream:
        assert problem_of(lambda: stream.write(b"x")).startswith(full)
    assert problem_of(lambda: Storage.open("/dev/null/x").make()).startswith("/dev/null: a file")


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_write_that_fails_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    import resource

    storage = Storage.open(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        said = problem_of(lambda: storage.write_bytes("run/x.bin", b"0" * 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said.startswith(f"{tmp_path}/run/x.bin: the file is larger")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_a_folder_without_rights_is_named_by_every_writer(tmp_path: Path) -> None:
    disk, rows = pafs.LocalFileSystem(), pa.table({"a": [1]})
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # root may write everywhere; for the block this process is nobody
        os.seteuid(65_534)
    try:
        said = {
            "python": problem_of(lambda: (folder / "x").write_text("x")),
            "mkdir": problem_of(lambda: (folder / "x").mkdir()),
            "arrow": problem_of(lambda: disk.open_output_stream(f"{folder}/x")),
            "parquet": problem_of(lambda: pq.write_table(rows, f"{folder}/x")),
            "storage": problem_of(lambda: Storage.open(folder).write_text("x", "")),
        }
    finally:
        os.seteuid(user)
    for writer, told in said.items():
        assert told.startswith(str(folder)), (writer, told)
        assert "you have no permission for that: change it, or use a folder of" in told, writer
    assert list(folder.iterdir()) == []


def test_what_no_disk_did_stays_a_defect(tmp_path: Path) -> None:
    def handle() -> None:
        try:
            (tmp_path / "file").mkdir()
            (tmp_path / "file").mkdir()
        except OSError:
            raise KeyError("ours")  # noqa: B904 - an error in the handling

    assert problem_of(lambda: (tmp_path / "missing").read_text()).startswith("none")
    assert problem_of(handle).startswith("none")
    assert disk_problem(ValueError("No space left on device")) is None


def test_the_file_of_an_error_travels_from_other_processes() -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    error.filename = "/runs/a/x.parquet"
    outer = RuntimeError("a task failed")
    outer.__cause__ = pickle.loads(pickle.dumps(error))
    assert str(disk_problem(outer)).startswith("/runs/a/x.parquet: the disk is full")


@pytest.mark.parametrize(
    "command", [["run"], ["compare"], ["sweep", "--space", str(ROOT / "tune_spaces/stages.yaml")]]
)
def test_a_file_where_the_folder_should_be(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    said = mistake(capsys, *command, "--run-dir", str(tmp_path / "file"))
    assert said.startswith(f"error: {tmp_path}/file: {A_FILE}")
    said = mistake(capsys, *command, "--run-dir", str(tmp_path / "file" / "run"))
    assert said.startswith(f"error: {tmp_path}/file: {A_FILE}")
    assert (tmp_path / "file").read_text() == ""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB of this test's own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root on Linux mounts disks")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("state", "said"), [("full", "the disk is full"), ("ro", "the disk can only be read")]
)
def test_full_and_read_only_disks(
    state: str, said: str, mounted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if state == "full":
        with pytest.raises(OSError, match="No space"):
            (mounted / "rest").write_bytes(b"0" * 2**20)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    for command in (["run"], ["compare"]):
        shown = mistake(capsys, *command, "--run-dir", str(mounted / command[0]))
        assert shown.startswith(f"error: {mounted}/{command[0]}")
        assert said in shown
    assert [name for name in os.listdir(mounted) if name.endswith(".tmp")] == []
