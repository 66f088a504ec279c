"""A unit of reading, without Ray: parts, keys and quarantine on the storage."""

import json
from pathlib import Path

import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from baldistill.config import DataConfig
from baldistill.data import read_unit as reading
from baldistill.data.read_unit import ReadPlan, read_unit
from baldistill.data.sources import find_files
from baldistill.data.units import Segment
from baldistill.data.validate import ROW_BITS
from baldistill.run_folder.layout import STAGING
from baldistill.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(tmp_path / "run")
    for name in (f"{STAGING}/rows", f"{STAGING}/keys", "quarantine"):
        storage.fs.create_dir(storage.path(name), recursive=True)
    return storage


def make_plan(path: Path) -> ReadPlan:
    files = find_files([str(path)], "train", "auto")
    units = [[Segment(file.index, file.size) for file in files]]
    return ReadPlan(dict(enumerate(files)), units, DataConfig())


def test_a_unit_is_divided_into_parts(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PART_ROWS", 1500)
    lines = ["question,answer,domain"] + [f"q{i},{i},d" for i in range(4000)] + ["bad"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    row = {"question": "last", "answer": 1, "domain": "d"}
    (tmp_path / "b.jsonl").write_text("\n" + json.dumps(row))
    reports = list(read_unit(make_plan(tmp_path), storage, 0))
    assert [report.num_valid for report in reports] == [2048, 1952, 1]
    assert [report.bad for report in reports] == [{}, {"wrong_field_count": 1}, {}]
    assert storage.list("quarantine") == ["read-000000-0001.parquet"]
    assert reports[1].examples == [
        f"{tmp_path}/a.csv, row 4001: wrong_field_count: 1 fields, the header has 3: 'bad'"
    ]
    assert [report.num_keys for report in reports] == [2048, 1952, 1]
    positions, keyed = [], []
    for report in reports:
        rows = pq.read_table(storage.path(f"{STAGING}/rows/{report.name}.parquet"))
        positions += rows["position"].to_pylist()
        with ipc.open_file(storage.path(f"{STAGING}/keys/{report.name}.arrow")) as keys:
            keyed += keys.read_all()["position"].to_pylist()
    assert positions == [*range(1, 4001), (1 << ROW_BITS) + 2]
    assert keyed == positions


def test_a_file_that_vanished_is_reported(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    plan = make_plan(path)
    path.unlink()
    (report,) = read_unit(plan, storage, 0)
    assert "a worker cannot see this file" in str(report.error)
