"""Steps that are done once: a marker says that an artifact is whole and what it was made from.

The key of a step is the hash of its name, its options and the key of the step before it. A step
whose marker holds the same key is skipped. Any other step is made, over what the folder holds of
it. So a run that was killed anywhere goes on where it was, and no step reads half an artifact.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from baldistill.errors import UserError
from baldistill.records import digest
from baldistill.run_folder.layout import RESPONSES, marker
from baldistill.run_folder.lock import check_still_held
from baldistill.storage import Storage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Result = TypeVar("Result", bound="DataclassInstance")


@dataclass(slots=True)
class Chain:
    """Steps of a run, each made from what the step before it left.

    Attributes:
        folder: Folder of the steps, such as `stages/01`; empty for the run folder itself.
        key: Key of the last step; None before the first.
        seconds: How long the last step took when it was made.
    """

    storage: Storage
    folder: str = ""
    key: str | None = None
    seconds: float = 0.0

    def branch(self, folder: str) -> Chain:
        """Return a chain that goes on in a folder from the last step; this one stays as it is."""
        return replace(self, folder=folder)

    def step(
        self,
        name: str,
        options: Mapping[str, Any],
        make: Callable[[], Result],
        result_type: type[Result],
    ) -> Result:
        """Make the next step, unless it is committed, and return its result.

        Args:
            name: Name of the step in the chain's folder, such as `selected`.
            options: All that decides the result besides the step before, as JSON values.
            make: Writes the artifact, durably, and returns the result.
            result_type: A frozen dataclass. Its fields are the figures in the marker.

        Raises:
            UserError: Another version of baldistill committed the step.
        """
        path = f"{self.folder}/{name}" if self.folder else name
        inputs = [] if self.key is None else [self.key]
        key = digest({"name": path, "inputs": inputs, "options": dict(options)})
        found = self.storage.read_json(marker(path)) if is_committed(self.storage, path) else {}
        if found.get("key") == key:
            result = _read(found["figures"], result_type, self.storage, path)
        else:
            start = time.monotonic()
            result = make()
            seconds = round(time.monotonic() - start, 3)
            check_still_held(self.storage)
            found = {"key": key, "figures": asdict(result), "seconds": seconds}
            self.storage.write_json(marker(path), found)
        self.key, self.seconds = key, found["seconds"]
        return result


def is_committed(storage: Storage, path: str) -> bool:
    """Return whether a step (such as `stages/01/selected`) is committed, whatever its options.

    An empty marker, as a failed upload may leave it, counts as none.
    """
    found = storage.fs.get_file_info(storage.path(marker(path)))
    return bool(found.is_file and found.size != 0)


def _read(
    figures: Mapping[str, Any], result_type: type[Result], storage: Storage, path: str
) -> Result:
    """Turn a marker's figures into the step's result."""
    differing = sorted(set(figures) ^ {field.name for field in fields(result_type)})
    if not differing:
        try:
            return TypeAdapter(result_type).validate_python(figures)
        except ValidationError as error:
            differing = [".".join(map(str, fault["loc"])) for fault in error.errors()]
    raise UserError(
        f"{storage.uri_of(marker(path))} was written by another version of baldistill (see "
        f"{', '.join(differing)}), so this run folder cannot go on: use another --run-dir, with "
        f"--store {storage.uri_of(RESPONSES)} (or the --store that this run had), so that the "
        "teacher's answers are not paid again"
    )
