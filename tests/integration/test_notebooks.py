"""The notebooks in examples/: their cells run in order, in this process as in a kernel."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "examples" / "notebooks"


def execute(name: str) -> dict[str, Any]:
    """Run all code of a notebook, and return its names."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "notebooks are kept without outputs"
            tree = ast.parse("".join(cell["source"]))
            exec(compile(tree, cell["id"], "exec"), names)
    return names


def test_a_policy_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    table = execute("own_policy")["table"]
    assert table["mine"].min() >= 8 * 4, "the floor, in each of four stages"
    assert table["natural"]["sorting"] < table["mine"]["sorting"] < table["naive"]["sorting"]
    sys.modules.pop("floor_policy")
