"""Files and functions stay short enough for a reader; docstrings begin with verbs."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "baldistill"
LONGEST_FILE = 330
LONGEST_FUNCTION = 60


def test_no_file_and_no_function_is_too_long() -> None:
    long = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text("utf-8")
        name = str(path.relative_to(PACKAGE))
        if (lines := len(text.splitlines())) > LONGEST_FILE:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{name}: {node.name} has {lines} lines")
    assert long == []


def test_docstrings_of_functions_say_what_to_do_and_not_what_there_is() -> None:
    """A docstring begins with a verb, so that "Whether ..." and "The ..." are none."""
    nouns = {"What", "Whether", "How", "Why", "Who", "Where", "Which", "The", "A", "An", "All"}
    wrong = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (ast.get_docstring(node) or ".").split()[0] in nouns
    ]
    assert wrong == []
