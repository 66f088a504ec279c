"""Imports point one way: every part of the package uses parts of the rows above it alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "baldistill"
ROWS = (
    {"errors"},
    {"core", "disk_errors", "local_disk", "masking", "object_stores", "processes"}
    | {"ray_patches", "shipped", "visible", "yaml12"},
    {"equality", "private_folder", "uris"},
    {"bundled", "methods", "records", "storage", "terminal"},
    {"config"},
    {"answers", "run_folder"},
    {"data", "generation", "progress"},
    {"report"},
    {"teacher"},
    {"student"},
    {"placement"},
    {"method"},
    {"commands"},
    {"tune"},
    {"cli"},
)
NARROWER = {
    "core": {"errors"},
    "records": set(),
    "bundled": set(),
    "report": {"core", "equality", "errors", "run_folder", "storage", "terminal", "visible"},
}
"""Parts that use less than their row would allow."""


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "baldistill":  # parts, or names of the Python API, which lead upwards
                found |= {alias.name for alias in node.names if alias.name != "__version__"}
            elif (node.module or "").startswith("baldistill."):
                found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("baldistill.")}
    return found


def test_every_way_to_import_is_seen(tmp_path: Path) -> None:
    code = """
import baldistill.tune.sweep, baldistill
from baldistill import __version__, cli, run as start
from baldistill.core import gain
def later():
    from baldistill.report.page import report
"""
    (tmp_path / "one.py").write_text(code)
    assert imports(tmp_path / "one.py") == {"tune", "cli", "run", "core", "report"}


def test_every_part_has_its_row() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    parts |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert parts == set().union(*ROWS)


def test_no_module_reaches_upwards() -> None:
    above: set[str] = set()
    wrong = []
    for row in ROWS:
        for part in sorted(row):
            allowed = NARROWER.get(part, above) | {part}
            paths = [PACKAGE / f"{part}.py", *sorted((PACKAGE / part).rglob("*.py"))]
            for path in filter(Path.exists, paths):
                names = imports(path) - allowed
                wrong += [f"{path.relative_to(PACKAGE)}: {name}" for name in sorted(names)]
        above |= row
    assert wrong == []


def test_the_package_needs_nothing_beside_it() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"benchmarks", "tests", "tools"}, path


def test_training_and_answering_need_few_packages() -> None:
    """`benchmarks/gpu.sh` runs where Ray, and most of what a run needs, is not installed."""
    modules = ["baldistill", "baldistill.student.train", "baldistill.generation.transformers"]
    seen, packages = set(modules), set()
    while modules:
        name = modules.pop()
        path = PACKAGE.parent / name.replace(".", "/")
        path = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        parent = name.rpartition(".")[0]
        imported = {parent} if parent else set()
        for node in ast.parse(path.read_text("utf-8")).body:  # not in functions
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                paths = {part: PACKAGE.parent / part.replace(".", "/") for part in parts}
                found = {
                    p for p in parts if paths[p].is_dir() or paths[p].with_suffix(".py").exists()
                }
                imported |= {str(node.module)} | found
        ours = {one for one in imported if one.split(".")[0] == "baldistill"}
        packages |= {one.split(".")[0] for one in imported - ours}
        modules += ours - seen
        seen |= ours
    packages -= sys.stdlib_module_names
    wanted = {"jinja2", "numpy", "pyarrow", "pydantic", "safetensors", "torch", "transformers"}
    assert packages == wanted
