"""Find the example configs and spaces: in the repository, or where a wheel installs them."""

from __future__ import annotations

import sysconfig
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent


def shipped(name: str) -> str:
    """Return where an example is, such as `examples/own-data.yaml` or `tune_spaces`.

    The path is as short as a user would type it: relative where the repository is at hand.
    """
    installed = Path(sysconfig.get_path("data")) / "share" / "baldistill"
    roots = [_REPOSITORY, installed] if (_REPOSITORY / "pyproject.toml").exists() else [installed]
    place = next((root / name for root in roots if (root / name).exists()), Path(name))
    here = Path.cwd()
    return str(place.relative_to(here) if place.is_relative_to(here) else place)
