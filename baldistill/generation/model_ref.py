"""Where a model is, and how to find it on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from baldistill.storage import Storage


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where a model is: a name (hub id, path or URI), or a folder in a run's storage."""

    name: str
    storage: Storage | None = None

    def resolve(self) -> str:
        """Return a hub id, or a path on this machine, for `from_pretrained`."""
        if self.storage is not None:
            return str(self.storage.local_dir(self.name))
        if self.name in ("bundled-teacher", "bundled-student"):
            bundled = Path(__file__).resolve().parent.parent / "bundled"
            return str(bundled / self.name.removeprefix("bundled-"))
        if "://" in self.name:
            return str(Storage.open(self.name).local_dir(""))
        return self.name
