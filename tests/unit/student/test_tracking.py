"""Losses in TensorBoard's files, in the folder of the stage."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs as pafs

from baldistill.bundled import model_dir
from baldistill.config import StudentConfig
from baldistill.storage import Storage
from baldistill.student.encode import Lesson
from baldistill.student.tracking import is_tracked, tracking
from baldistill.student.train import train

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

FOLDER = "stages/01/tracking"


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """(name, step, value) of all event files: records of length, checksum, data, checksum."""
    for path in sorted(folder.rglob("events.out.tfevents*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield value.tag, event.step, value.simple_value
            at += 16 + length


@pytest.mark.parametrize("is_local", [True, False])
def test_each_reported_loss_is_in_tensorboards_files(is_local: bool, tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "run")
    if not is_local:  # any other filesystem, such as an object store
        base = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
        storage = Storage("other://run", base, "run")
    with tracking(storage, FOLDER):
        result = train(
            [Lesson(f"{n} + {n} =", f"{2 * n}") for n in range(16)],
            init=str(model_dir("student")),
            output=tmp_path / "student",
            config=StudentConfig(epochs=1, batch_size=4, trainer={"report_to": ["tensorboard"]}),
            seed=0,
        )
    found = list(scalars(tmp_path / "run" / FOLDER))
    losses = [(step, value) for name, step, value in found if name == "train/loss"]
    assert [step for step, _ in losses] == [step for step, _ in result.losses] == [1, 2, 3, 4]
    assert [value for _, value in losses] == pytest.approx([loss for _, loss in result.losses])
    assert not list((tmp_path / "student").rglob("events*")), "a student is no place for them"
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_the_users_own_folder_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "elsewhere")
    with tracking(Storage.open(tmp_path), FOLDER):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == "elsewhere"
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == "elsewhere"


@pytest.mark.parametrize(
    ("report_to", "expected"),
    [(None, False), ([], False), ("none", False), ("tensorboard", True), (["mlflow"], True)],
)
def test_what_counts_as_a_tracker(report_to: object, expected: bool) -> None:
    assert is_tracked({} if report_to is None else {"report_to": report_to}) is expected


def test_mlflow_has_a_run_for_each_training(tmp_path: Path) -> None:
    """Two trainings of one process; each run has its own name and steps."""
    pytest.importorskip("mlflow")
    program = """
import sys
from pathlib import Path
from baldistill.bundled import model_dir
from baldistill.config import StudentConfig
from baldistill.storage import Storage
from baldistill.student.tracking import tracking
from baldistill.student.encode import Lesson
from baldistill.student.train import train
config = StudentConfig(epochs=1, batch_size=4, trainer={"report_to": ["mlflow"]})
for stage in ("01", "02"):
    with tracking(Storage.open(sys.argv[1]), f"stages/{stage}/tracking"):
        train([Lesson("1 + 1 =", "2")] * 8, init=str(model_dir("student")), run_name=f"run {stage}",
              output=Path(sys.argv[1]) / stage, config=config, seed=0)
import mlflow
runs = mlflow.search_runs(output_format="list", search_all_experiments=True)
print(sorted((run.info.run_name, run.info.status, "loss" in run.data.metrics) for run in runs))
"""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [("run 01", "FINISHED", True), ("run 02", "FINISHED", True)]
    assert done.stdout.splitlines()[-1] == str(expected)
