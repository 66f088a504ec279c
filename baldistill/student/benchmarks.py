"""Public benchmarks: whether lm-eval is there and knows the tasks, and what comes of them.

Needs neither torch nor lm-eval: `harness.py` does, in a process of its own.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from baldistill.config.benchmarks import is_task_file
from baldistill.core.benchmarks import BenchmarkFigure
from baldistill.errors import ConfigError, MissingPackageError
from baldistill.records import digest

_NAMED = re.compile(r"^[ \t-]*(?:task|group|tag):[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_MOST_SUGGESTED = 3


@dataclass(frozen=True, slots=True)
class Examined:
    """A model's results on benchmarks.

    Attributes:
        figures: Of each task that was asked for; of a group without a figure of its own, of each
            of its tasks.
        scores: Of each example (`records.BENCHMARK_SCORES`).
        results: What lm-eval says, without examples.
        version: Of lm-eval.
    """

    figures: tuple[BenchmarkFigure, ...]
    scores: pa.Table
    results: dict[str, Any]
    version: str


def require_lm_eval() -> None:
    """Raise MissingPackageError where lm-eval is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingPackageError(
            "evaluation.benchmarks needs lm-eval, which is not installed: "
            "pip install 'baldistill[benchmarks]' on every node that runs a student, or leave it "
            "out"
        )


def check_benchmarks(names: Sequence[str]) -> None:
    """Check benchmarks before a run pays for anything, without a network.

    Raises:
        MissingPackageError: lm-eval is not installed here.
        ConfigError: There is no such task; names the nearest ones.
    """
    if not names:
        return
    require_lm_eval()
    for name in filter(is_task_file, names):
        if not Path(name).expanduser().is_file():
            raise ConfigError(f"evaluation.benchmarks: there is no file {name}")
    if unknown := _not_found([name for name in names if not is_task_file(name)]):
        _check_by_index(unknown)


def asked_benchmarks(names: Sequence[str]) -> list[Any]:
    """Return what decides these tasks, for the key of a step: files of users count by content."""
    found: list[Any] = []
    for name in names:
        path = Path(name).expanduser()
        is_here = is_task_file(name) and path.is_file()
        found.append([name, digest({"text": path.read_text("utf-8")})] if is_here else name)
    return found


def absolute(name: str) -> str:
    """Return a benchmark as another process can find it."""
    return str(Path(name).expanduser().resolve()) if is_task_file(name) else name


def _not_found(names: Sequence[str]) -> list[str]:
    """Return the names that no task file of lm-eval spells out.

    Reading its 14,000 files as text takes a tenth of the time in which lm-eval reads them.
    """
    missing = set(names)
    for path in _task_files() if missing else ():
        missing -= set(_NAMED.findall(path.read_text("utf-8", errors="replace")))
        if not missing:
            break
    return [name for name in names if name in missing]


def _task_files() -> Iterator[Path]:
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    for folder in spec.submodule_search_locations or ():
        yield from (Path(folder) / "tasks").rglob("*.yaml")


def _check_by_index(names: Sequence[str]) -> None:
    """Look names up in lm-eval's own index, which takes seconds."""
    from lm_eval.tasks import TaskManager

    known = TaskManager().all_tasks
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, _MOST_SUGGESTED)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(
                f"evaluation.benchmarks: lm-eval has no task {name!r}: {hint}`lm-eval ls tasks` "
                "lists them; a task file of your own ends in .yaml"
            )
