"""Where the bundled models lie in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

ModelName = Literal["teacher", "student"]
CARD: Final = Path(__file__).parent / "card.json"
"""What the build script measured of the teacher."""


def model_dir(name: ModelName) -> Path:
    """The Hugging Face directory of a bundled model."""
    return Path(__file__).parent / name
