"""Experiment trackers that a training reports to: `student.trainer.report_to`.

transformers' own callbacks send the losses to TensorBoard, MLflow, Weights & Biases, trackio and
others. A run trains once a stage, often in one process, and in folders that it deletes. So each
training gets a run of the tracker's own, named after run and stage, and TensorBoard's files go to
the stage's folder.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baldistill.storage import Storage

_FOLDER = "TENSORBOARD_LOGGING_DIR"


def is_tracked(trainer: dict[str, Any]) -> bool:
    """Return whether the options of `student.trainer` name a tracker."""
    return trainer.get("report_to") not in (None, [], "none", ["none"])


@contextmanager
def tracking(storage: Storage, name: str) -> Iterator[None]:
    """Let trackers write during the block, and end the runs that they began in this process.

    Args:
        storage: The run folder. On a disk, TensorBoard's files can be watched there as they grow;
            elsewhere they are copied at the end of the block.
        name: The folder for them. A TENSORBOARD_LOGGING_DIR that the user has set goes first.
    """
    before = _open_runs()
    try:
        if _FOLDER in os.environ:
            yield
        elif storage.is_local:
            with _set(_FOLDER, storage.path(name)):
                yield
        else:
            with tempfile.TemporaryDirectory(prefix="baldistill-tracking-") as folder:
                try:
                    with _set(_FOLDER, folder):
                        yield
                finally:
                    storage.upload_dir(Path(folder), name)
    finally:
        for tracker in _open_runs() - before:
            _end_run(tracker)


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _open_runs() -> set[str]:
    """Return the trackers that have a run in this process, of those that keep one open."""
    wandb, mlflow = sys.modules.get("wandb"), sys.modules.get("mlflow")
    found = set()
    if getattr(wandb, "run", None) is not None:
        found.add("wandb")
    if mlflow is not None and mlflow.active_run() is not None:
        found.add("mlflow")
    return found


def _end_run(tracker: str) -> None:
    module = sys.modules[tracker]
    (module.finish if tracker == "wandb" else module.end_run)()
