"""A run folder that workers do not see is refused before anything is paid for."""

from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs
import pytest
import ray

from baldistill.errors import UserError
from baldistill.pipeline.reach import check_reach
from baldistill.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_a_folder_that_all_see(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    check_reach(storage)
    check_reach(storage, ray.nodes())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_one_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/cwd").exists():
        pytest.skip("no /proc to stand for another machine's disk")
    monkeypatch.chdir(tmp_path)
    storage = Storage("run", pafs.LocalFileSystem(), "/proc/self/cwd/run")
    with pytest.raises(UserError, match=r"node .* cannot reach the run folder run \(it does not"):
        check_reach(storage, ray.nodes())


def test_a_node_that_is_gone_is_no_problem(tmp_path: Path) -> None:
    gone = {**ray.nodes()[0], "NodeID": "0" * 56}
    check_reach(Storage.open(tmp_path), [gone])
