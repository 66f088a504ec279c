"""Steps that are done once: a marker says that an artifact is whole and what it was made from.

A step's key is the hash of its name, its options and the keys of its inputs. A step whose marker
carries its key is skipped; anything else it left behind is overwritten. So a run that was killed
anywhere goes on where it was, and a step never reads half an artifact.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from baldistill.records import digest
from baldistill.run_folder.layout import marker
from baldistill.run_folder.lock import check_still_held
from baldistill.storage import Storage


@dataclass(frozen=True, slots=True)
class Step:
    """A committed step.

    Attributes:
        key: Identity of the artifact: what it was made from, and how.
        figures: What the step reports, as JSON values.
        seconds: How long it took when it was made.
    """

    key: str
    figures: dict[str, Any]
    seconds: float


def commit(
    storage: Storage,
    name: str,
    *,
    inputs: tuple[Step, ...],
    options: Mapping[str, Any],
    make: Callable[[], dict[str, Any]],
) -> Step:
    """Run a step unless it was committed before.

    Args:
        storage: The run's.
        name: Of the step, such as `stages/01/selected`.
        inputs: The steps whose artifacts this one reads.
        options: All that decides its result besides them, as JSON values.
        make: Writes the artifact, durably, and returns figures about it.
    """
    key = digest({"name": name, "inputs": [step.key for step in inputs], "options": dict(options)})
    found = committed(storage, name)
    if found is not None and found.key == key:
        return found
    start = time.monotonic()
    figures = make()
    seconds = round(time.monotonic() - start, 3)
    check_still_held(storage)
    storage.write_json(marker(name), {"key": key, "figures": figures, "seconds": seconds})
    return Step(key, figures, seconds)


def committed(storage: Storage, name: str) -> Step | None:
    """What was committed under a name, whatever it was made from; None if nothing was."""
    if not storage.exists(marker(name)):
        return None
    found = storage.read_json(marker(name))
    return Step(found["key"], found["figures"], found["seconds"])
