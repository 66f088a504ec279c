"""Where everything is in a run folder."""

from __future__ import annotations


def stage_dir(stage: int) -> str:
    """Folder of a stage's artifacts."""
    return f"stages/{stage:02d}"
