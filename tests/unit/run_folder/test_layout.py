"""The names of a run folder stand in `run_folder/layout.py` alone."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage

PACKAGE = Path(__file__).resolve().parents[3] / "baldistill"
NOT_A_RUN_FOLDER = {"data/recipes/make.py"}
"""Modules in which the same words name a corpus made by a recipe."""

STORAGE_METHODS = {
    name
    for name, function in inspect.getmembers(Storage, inspect.isfunction)
    if "name" in inspect.signature(function).parameters
}


def names_to_use() -> dict[str, str]:
    """What to write in place of each path, and of each part of a path."""
    paths = {
        f"layout.{key}": value
        for key, value in vars(layout).items()
        if isinstance(value, str) and key.isupper() and key[0] != "_"
    }
    paths |= {
        f"StageLayout(stage).{key}": value.removeprefix("stages/01/")
        for key, value in vars(StageLayout(1)).items()
        if key not in ("folder", "markers")
    }
    paths |= {"StageLayout(stage).folder": "stages", "layout.marker(step)": "_commits"}
    paths |= {"layout.trial_run(trial)": "trials"}
    for ending in ("json", "md", "csv", "svg", "png"):
        paths[f'layout.comparison_file("{ending}")'] = layout.comparison_file(ending)
        paths[f'layout.sweep_file("{ending}")'] = layout.sweep_file(ending)
    found: dict[str, str] = {}
    for use, path in paths.items():
        for part in {path, path.split("/")[-1]}:
            found[part] = f"{found[part]} or {use}" if part in found else use
    return found


NAMES = names_to_use()


def text_of(node: ast.expr) -> str | None:
    """A string, or an f-string with `{}` for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            text_of(v) or "" if isinstance(v, ast.Constant) else "{}" for v in node.values
        )
    return None


def documentation(tree: ast.AST) -> set[ast.expr]:
    """Strings that stand for themselves: docstrings of modules, classes, functions, constants."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def spelled_paths(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, text and the name to use of each string that spells a path of the contract.

    A word such as `ledger` is a path where it is given to a method of `Storage` or stands beside
    a slash. A word with a dot or an underscore, such as `config.yaml`, is one anywhere but in
    prose.
    """
    tree = ast.parse(source)
    skipped = documentation(tree)
    pieces = {
        value for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values
    }
    arguments = {
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in STORAGE_METHODS
        and node.args
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr) or node in skipped | pieces:
            continue
        text = text_of(node)
        if text is None or any(character.isspace() for character in text):
            continue
        parts = text.split("/")
        for part in [text, *parts]:
            is_path = node in arguments or len(parts) > 1 or "." in part or part.startswith("_")
            if is_path and part in NAMES:
                yield node.lineno, text, NAMES[part]
                break


MODULES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("module", MODULES)
def test_no_other_module_spells_a_path_of_the_run_folder(module: str) -> None:
    if module == "run_folder/layout.py" or module in NOT_A_RUN_FOLDER:
        return
    found = [
        f"baldistill/{module}:{line} spells {text!r}: write {use}"
        for line, text, use in spelled_paths((PACKAGE / module).read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "use"),
    [
        (
            "storage.read_json('metrics.json')",
            "layout.TEACHER_METRICS or layout.METRICS or StageLayout(stage).metrics",
        ),
        ("name = 'config.yaml'", "layout.CONFIG"),
        ("storage.sub('ledger')", "layout.LEDGER"),
        ("f'stages/{stage:02d}/student'", "StageLayout(stage).folder"),
        ("f'{folder}/annotated.parquet'", "StageLayout(stage).annotated"),
        ("f'{folder}/scored'", "StageLayout(stage).scored"),
        ("f'_commits/{name}.json'", "layout.marker(step)"),
        ("storage.list('corpus/train')", "layout.TRAIN"),
        ("storage.path('comparison.svg')", 'layout.comparison_file("svg")'),
    ],
)
def test_a_spelled_path_is_found(line: str, use: str) -> None:
    assert [found for *_, found in spelled_paths(f"x({line})" if "=" not in line else line)] == [
        use
    ]


@pytest.mark.parametrize(
    "line", ["'''The ledger/ folder.'''", "say('see metrics.json')", "parts['student'] = 'ledger'"]
)
def test_prose_and_keys_are_no_paths(line: str) -> None:
    assert list(spelled_paths(line)) == []
