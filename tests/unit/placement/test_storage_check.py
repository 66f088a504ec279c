"""A run folder that workers do not see is refused before anything is paid for."""

from __future__ import annotations

import importlib
from pathlib import Path

import pyarrow.fs as pafs
import pytest
import ray

from baldistill.errors import UserError
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_a_folder_that_all_see(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    check_storage_is_shared(storage)
    check_storage_is_shared(storage, ray.nodes())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_one_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/cwd").exists():
        pytest.skip("no /proc to stand for another machine's disk")
    monkeypatch.chdir(tmp_path)
    storage = Storage("run", pafs.LocalFileSystem(), "/proc/self/cwd/run")
    with pytest.raises(UserError, match=r"node .* cannot reach the folder run \(it does not"):
        check_storage_is_shared(storage, ray.nodes())


def test_a_node_without_a_package_or_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text(
        "from fsspec.implementations.local import LocalFileSystem\n"
        "class Driver(LocalFileSystem):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module("only_here")
    handler = pafs.FSSpecHandler(package.Driver())
    storage = Storage("run", pafs.PyFileSystem(handler), str(tmp_path / "run"))
    with pytest.raises(UserError, match=r"No module named 'only_here'.*same packages"):
        check_storage_is_shared(storage, ray.nodes())


def test_a_node_that_is_gone_is_no_problem(tmp_path: Path) -> None:
    gone = {**ray.nodes()[0], "NodeID": "0" * 56}
    check_storage_is_shared(Storage.open(tmp_path), [gone])
