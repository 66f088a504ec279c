"""Steps that are done once: a marker says that an artifact is whole and what it was made from.

The key of a step is the hash of its name, its options and the key of the step before it. A step
whose marker holds the same key is skipped. Any other step is made, over what the folder holds of
it. So a run that was killed anywhere goes on where it was, and no step reads half an artifact.

A marker is written when all files of its step are on the disk, and removed before they are written
anew. It records them (`artifacts.py`), so that later damage is noticed (`integrity.py`).
"""

from __future__ import annotations

import json
import shlex
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from baldistill.errors import UserError
from baldistill.records import digest
from baldistill.run_folder import artifacts
from baldistill.run_folder.layout import LEDGER, RESPONSES, marker
from baldistill.run_folder.lock import check_still_held
from baldistill.storage import Storage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Result = TypeVar("Result", bound="DataclassInstance")

_CHECKSUM = "crc32"
"""The key of a marker's own checksum."""
_SEGMENTS = "ledger_segments"
"""The key of how many segments the ledger had at least when the step was committed."""


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

    def key_of(self, name: str, options: Mapping[str, Any]) -> str:
        """Return the key of the step that would be the next."""
        inputs = [] if self.key is None else [self.key]
        return digest({"name": self._path(name), "inputs": inputs, "options": dict(options)})

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name

    def step(
        self,
        name: str,
        options: Mapping[str, Any],
        make: Callable[[], Result],
        result_type: type[Result],
        writes: Sequence[str] = (),
        again: Callable[[Result], bool] | None = None,
    ) -> Result:
        """Make the next step, unless it is committed, and return its result.

        Args:
            name: Name of the step in the chain's folder, such as `selected`.
            options: All that decides the result besides the step before, as JSON values.
            make: Writes the artifacts and returns the result.
            result_type: A frozen dataclass. Its fields are the figures in the marker.
            writes: The artifacts: files, and folders with all that is in them.
            again: Whether a committed result is to be made again all the same, such as one that a
                cap had cut short. No later step may be made from it: their keys stay.

        Raises:
            UserError: Another version of baldistill committed the step.
        """
        path, key = self._path(name), self.key_of(name, options)
        found = read_marker(self.storage, path) or {}
        result: Result | None = None
        if found.get("key") == key:
            result = _read(found["figures"], result_type, self.storage, path)
        if result is None or (again is not None and again(result)):
            if found:  # it must not vouch for what is about to be written over
                check_still_held(self.storage)
                self.storage.delete(marker(path))
            start = time.monotonic()
            result = make()
            self.storage.sync(writes)
            files = artifacts.record(self.storage, writes)
            seconds = round(time.monotonic() - start, 3)
            check_still_held(self.storage)
            found = {"key": key, "figures": asdict(result), "seconds": seconds, **files}
            found[_SEGMENTS] = num_segments(self.storage)
            self.storage.write_json(marker(path), {**found, _CHECKSUM: _checksum(found)})
        self.key, self.seconds = key, found["seconds"]
        return result


def num_segments(storage: Storage) -> int:
    """Return how many segments the ledger of a run folder has, missing ones before its last too."""
    names = [name for name in storage.list(LEDGER) if name[:8].isdigit()]
    return int(max(names)[:8]) + 1 if names else 0


def recorded_segments(storage: Storage, steps: Sequence[str]) -> int:
    """Return how many segments the ledger had at the last of these committed steps.

    Earlier versions did not record it: 0. So it is where the marker is damaged.
    """
    try:
        found = read_marker(storage, steps[-1]) if steps else None
    except DamagedMarkerError:
        return 0
    return int((found or {}).get(_SEGMENTS, 0))


def read_marker(storage: Storage, path: str) -> dict[str, Any] | None:
    """Return what the marker of a step holds; None if the step is not committed.

    Raises:
        DamagedMarkerError: The marker is not as it was written.
    """
    if not is_committed(storage, path):
        return None
    try:
        found = storage.read_json(marker(path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _damaged(storage, path, "is damaged: it is no JSON object")
    checksum = found.pop(_CHECKSUM, None)  # earlier versions wrote none
    if checksum not in (None, _checksum(found)):
        raise _damaged(storage, path, "is damaged: its checksum does not match")
    return found


class DamagedMarkerError(UserError):
    """A marker that is not as it was written; `problem` says what is wrong with it."""

    problem = ""


def _damaged(storage: Storage, path: str, problem: str) -> DamagedMarkerError:
    """Name the marker and the ways out."""
    uri = storage.uri_of(marker(path))
    error = DamagedMarkerError(f"{uri} {problem}. {ways_out(storage)}")
    error.problem = problem
    return error


def ways_out(storage: Storage) -> str:
    """Say what a user can do about a damaged file in a run folder."""
    uri = shlex.quote(storage.uri)
    return (
        f"Restore it from a copy. Or see what `baldistill repair {uri}` would give up to go on "
        "without it. Or, if another version of baldistill wrote it, use that version, or run "
        f"again in a new folder, with --store {storage.uri_of(RESPONSES)} (or the --store that "
        "this run had), so that the teacher's answers are not paid again"
    )


def _checksum(marker: Mapping[str, Any]) -> str:
    """Return a checksum of a marker's values, whatever the layout of its text."""
    written = json.loads(json.dumps(marker))  # tuples become lists, and keys strings
    return f"{zlib.crc32(json.dumps(written, sort_keys=True).encode()):08x}"


def is_committed(storage: Storage, path: str) -> bool:
    """Return whether a step (such as `stages/01/selected`) is committed, whatever its options.

    An empty marker, as a failed upload may leave it, counts as none.
    """
    found = storage.fs.get_file_info(storage.path(marker(path)))
    return bool(found.is_file and found.size != 0)


def _read(
    figures: Mapping[str, Any], result_type: type[Result], storage: Storage, path: str
) -> Result:
    """Turn a marker's figures into the step's result.

    A figure that an earlier version did not have has its default.
    """
    names = {field.name for field in fields(result_type)}
    needed = {f.name for f in fields(result_type) if f.default is f.default_factory is MISSING}
    differing = sorted(set(figures) - names | needed - set(figures))
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
