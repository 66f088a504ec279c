"""Imports point one way: core, records, config <- generation, data <- teacher, student <- ..."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "baldistill"
CONFIG = {"config", "config_engines", "config_teachers", "config_file"}
BASE = {"errors", "uris", "records", "core", "methods"} | CONFIG
ALLOWED = {
    "errors": set(),
    "core": {"core"},
    "methods": {"errors"},
    "records": set(),
    "uris": set(),
    "processes": set(),
    "config": {"config_engines", "config_teachers", "core", "uris"},
    "config_engines": set(),
    "config_teachers": {"config_engines"},
    "config_file": {"config", "errors", "methods", "storage", "uris"},
    "storage": {"errors", "uris"},
    "bundled": {"bundled"},
    "generation": BASE | {"processes", "storage", "generation"},
    "data": BASE | {"storage", "data", "bundled"},
    "teacher": BASE | {"storage", "generation", "teacher"},
    "student": BASE | {"storage", "generation", "teacher", "student"},
    "report": BASE | {"storage", "report"},
}
TOP = {"pipeline", "tune", "cli", "cli_data"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("baldistill."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("baldistill.")}
    return found


def test_no_module_reaches_upwards() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if part in TOP or part == "__init__":
            continue
        wrong += [f"{path.name}: {name}" for name in imports(path) - ALLOWED[part]]
    assert wrong == []
