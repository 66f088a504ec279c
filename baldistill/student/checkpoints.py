"""Checkpoints of a stage's training in the run folder: which is whole, and which may be used.

Needs no torch. What a checkpoint holds is decided by `snapshot.py`. A record is written when all
files of a checkpoint are on the storage. It holds their sizes and checksums, and a key. The key is
the hash of all that decides a training, so that no other training goes on from the checkpoint.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from baldistill.records import digest
from baldistill.run_folder import artifacts
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage

_PACKAGES = ("torch", "transformers", "peft", "accelerate")  # which decide what state there is


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one training. Picklable.

    Attributes:
        storage: The run folder, which every worker sees.
        stage: The stage that trains.
        key: Of the step at first; `of` makes that of the training of it.
    """

    storage: Storage
    stage: int
    key: str

    def of(self, annotated: pa.Table, num_workers: int) -> Checkpoints:
        """Return those of a training on these rows by so many workers.

        The step's key says how the rows were made; a teacher may write others the next time.
        """
        decides = {
            "step": self.key,
            "rows": annotated.to_pylist(),
            "workers": max(1, num_workers),
            "versions": [importlib.metadata.version(package) for package in _PACKAGES],
        }
        return replace(self, key=digest(decides))

    def latest(self) -> Found | None:
        """Return the last checkpoint of this training; None if there is none, or it is damaged."""
        record = self._record()
        if record is None or record.get("key") != self.key:
            return None
        if artifacts.differences(self.storage, record, thorough=True):
            return None
        return Found(self.storage, str(record["name"]), int(record["step"]))

    @contextmanager
    def adding(self, step: int) -> Iterator[Path]:
        """Yield an empty folder on this machine; what stands in it afterwards is a checkpoint.

        The checkpoints before it are deleted then. If it cannot be written, it is deleted.

        Raises:
            OSError: The storage does not take it.
        """
        names = StageLayout(self.stage)
        name = f"{names.checkpoint}/{step:08d}-{uuid.uuid4().hex[:8]}"
        try:
            if self.storage.is_local:  # nobody looks for it before its record is written
                self.storage.sub(name).make()
                yield Path(self.storage.path(name))
                self.storage.sync([name])
            else:
                with tempfile.TemporaryDirectory(prefix="baldistill-checkpoint-") as scratch:
                    yield Path(scratch)
                    self.storage.upload_dir(Path(scratch), name)
            record = {"key": self.key, "step": step, "name": name}
            record |= artifacts.record(self.storage, [name])
            self.storage.write_json(names.checkpoint_record, record)
        except OSError:
            with suppress(OSError):
                self.storage.delete(name)
            raise
        self._delete_all_but(name)

    def _record(self) -> Mapping[str, Any] | None:
        name = StageLayout(self.stage).checkpoint_record
        if not self.storage.fs.get_file_info(self.storage.path(name)).is_file:
            return None
        try:
            found = self.storage.read_json(name)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _delete_all_but(self, kept: str) -> None:
        folder = StageLayout(self.stage).checkpoint
        others = {f"{folder}/{name.split('/')[0]}" for name in self._below(folder)}
        for other in sorted(others - {kept, StageLayout(self.stage).checkpoint_record}):
            self.storage.delete(other)

    def _below(self, folder: str) -> list[str]:
        return [name.removeprefix(f"{folder}/") for name in self.storage.files(folder)]


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint that is whole.

    Attributes:
        name: Its folder in the storage.
        step: The optimiser steps that were done.
    """

    storage: Storage
    name: str
    step: int

    @contextmanager
    def local(self) -> Iterator[Path]:
        """Yield the checkpoint as a local folder; a download is deleted after the block."""
        if self.storage.is_local:
            yield Path(self.storage.path(self.name))
            return
        with tempfile.TemporaryDirectory(prefix="baldistill-checkpoint-") as scratch:
            pafs.copy_files(
                self.storage.path(self.name),
                scratch,
                source_filesystem=self.storage.fs,
                destination_filesystem=pafs.LocalFileSystem(),
            )
            yield Path(scratch)
