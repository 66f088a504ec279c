"""Paths of the bundled models in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

ModelName = Literal["teacher", "student"]
CARD: Final = Path(__file__).parent / "card.json"
"""The accuracy of the teacher that `tools.bundled_models.build` measured."""


def model_dir(name: ModelName) -> Path:
    """Return the Hugging Face directory of a bundled model."""
    return Path(__file__).parent / name
