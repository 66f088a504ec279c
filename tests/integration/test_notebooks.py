"""The notebooks in examples/: their cells run in order, on one small run that they share.

The cells are executed in this process, as a kernel would, so that they use its Ray and its engines.
"""

from __future__ import annotations

import ast
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import baldistill
from baldistill.commands.run import run
from baldistill.placement.engines import Engines

NOTEBOOKS = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
SMALL = [
    *("budget.total=36", "stages=1", "data.bundled_rows=300", "student.epochs=0.5"),
    *("data.bundled_evaluation_per_domain=2", "student.response.max_new_tokens=16"),
    "student.num_workers=0",
    *("teacher.resources.replicas=1", "teacher.resources.num_cpus=0"),
    *("student.resources.replicas=1", "student.resources.num_cpus=0"),
]
"""One option a word; engines as the fixture has them."""


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


@pytest.mark.ray
def test_a_run_and_how_to_read_it(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTEBOOK_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("NOTEBOOK_OPTIONS", " ".join(SMALL))
    monkeypatch.setitem(vars(baldistill), "run", partial(run, engines=engines, quiet=True))
    found = execute("quickstart")
    assert found["result"].metrics["budget"]["annotated"] == 36
    assert (tmp_path / "run/report/index.html").exists()
    read = execute("read_a_run")
    assert len(read["annotated"]) == 36
    assert list(read["accuracy"].columns) == ["base", "stage 1"]
    assert len(read["both"]) == 24


def test_a_policy_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    table = execute("own_policy")["table"]
    assert table["mine"].min() >= 8 * 4, "the floor, in each of four stages"
    assert table["natural"]["sorting"] < table["mine"]["sorting"] < table["naive"]["sorting"]
    sys.modules.pop("floor_policy")
