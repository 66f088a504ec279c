"""Files and functions stay short enough for a reader; docstrings begin with verbs."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "baldistill"
QUESTION_WORDS = {"What", "Whether", "How", "Why", "Who", "Whose", "Where", "Which", "When"}
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
    nouns = QUESTION_WORDS | {"The", "A", "An", "All"}
    wrong = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (ast.get_docstring(node) or ".").split()[0] in nouns
    ]
    assert wrong == []


def test_no_docstring_begins_with_a_question_word() -> None:
    """A clause such as "What a stage left" hides whether it names a thing or an action."""
    wrong = [
        f"{path.relative_to(ROOT)}:{statement.lineno}"
        for folder in ("baldistill", "benchmarks", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body  # docstrings, and the strings below assignments
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(text := statement.value.value, str)
        and (text.split() or [""])[0] in QUESTION_WORDS
    ]
    assert not wrong, "\n".join(wrong)
