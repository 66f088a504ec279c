"""docs/method.md names functions that exist, each with a docstring."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from baldistill.methods import METHODS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "method.md").read_text("utf-8")
NAMES = sorted(set(re.findall(r"`(baldistill(?:\.\w+)+)`", TEXT)))


def test_every_step_of_the_method_is_there() -> None:
    for part in ("budget", "ifd", "selection", "synthesis", "rationale", "fine_tune", "recipes"):
        assert any(f".{part}." in name for name in NAMES), part


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_stands_there(method: str) -> None:
    assert f"`{method}`" in TEXT


@pytest.mark.parametrize("name", NAMES)
def test_it_exists_and_says_what_it_is(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    assert found.__doc__
