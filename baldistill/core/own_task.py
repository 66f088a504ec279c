"""A user's own task type: how an answer is found in a response, and when two are the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from baldistill.core.own_parts import TASKS, OwnPartError, calling, is_own, make

_FOUND: set[str] = set()


def is_own_task(task: str) -> bool:
    """Tell whether a task type is a user's."""
    if task not in _FOUND and is_own(task, TASKS):  # a look at all installed packages
        _FOUND.add(task)
    return task in _FOUND


def own_extract(
    task: str, text: str, choices: Sequence[str] | None, question: str | None
) -> str | None:
    """Let a user's class find the answer in a response; None if there is none.

    Raises:
        OwnPartError: The class cannot be made, fails, or gives something that is no text.
    """
    part = _made(task)
    with calling(task, "extract"):
        found = part.extract(text, choices, question)
    if found is not None and not isinstance(found, str):
        raise OwnPartError(f"{task}: extract must return a text or None, not {found!r:.80}")
    return found if found and found.strip() else None


def own_equal(task: str, a: str, b: str) -> bool:
    """Let a user's class say whether two answers are the same.

    Raises:
        OwnPartError: The class cannot be made, or fails.
    """
    part = _made(task)
    with calling(task, "equal"):
        return bool(part.equal(a, b))


def check_own_tasks(tasks: Iterable[str]) -> None:
    """Make each class once: a class that cannot be made fails before anything is paid.

    Raises:
        OwnPartError: One of the task types that are users' cannot be used.
    """
    for task in tasks:
        if is_own_task(task):
            _made(task)


@lru_cache(maxsize=64)
def _made(task: str) -> Any:
    part = make(task, {}, "extract", TASKS)
    if not callable(getattr(part, "equal", None)):
        raise OwnPartError(f"{task} has no method equal")
    return part
