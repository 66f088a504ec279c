"""Read the signs of life in a run folder on an object store; `lock.py` writes them."""

from __future__ import annotations

from typing import Any

from baldistill.run_folder import layout
from baldistill.storage import Storage

_UNKNOWN: dict[str, Any] = {
    **{"user": "someone", "host": "some host", "pid": 0, "since": "some time"},
    **{"machine": None, "started": None, "state": "holds", "took": []},
}


def is_lost(storage: Storage, own: str) -> bool:
    """Return whether another run has taken a folder from the run with this sign of life.

    That run may have written its sign of life again after that: it was suspended between its look
    and its writing. So the others are asked, too, whom they counted as dead.
    """
    names = set(storage.list(layout.LOCK))
    others = (read_sign(storage, name) for name in names - {own})
    return own not in names or any(
        other is not None and own in other["took"] and other["state"] == "holds" for other in others
    )


def read_sign(storage: Storage, name: str) -> dict[str, Any] | None:
    """Read a sign of life; None if it has been removed."""
    try:
        content = storage.read_json(f"{layout.LOCK}/{name}")
    except FileNotFoundError:
        return None
    except ValueError:  # half written, on a store that shows such objects
        content = {}
    return _UNKNOWN | (content if isinstance(content, dict) else {})
