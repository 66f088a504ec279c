"""Answers that a person has labelled, to check a judge by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baldistill.errors import DataError

_WORDS = {"accept": True, "accepted": True, "good": True, "yes": True, "true": True} | {
    "reject": False, "rejected": False, "bad": False, "no": False, "false": False
}  # fmt: skip
_NEEDED = ("question", "response", "label")


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer, and whether a person accepts it; `reference` is empty without a gold answer."""

    question: str
    response: str
    accepted: bool
    reference: str = ""


def read_labelled(path: str | Path, scale: tuple[int, int], accept: int) -> list[LabelledAnswer]:
    """Read JSON lines of labelled answers.

    A label is true or false, a word such as `accept`, or a score on the judge's scale, which counts
    as accepted from `accept` on.

    Raises:
        DataError: There is no such file, or a line is none.
    """
    file = Path(path)
    try:
        lines = file.read_text("utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(f"--labelled: {file} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--labelled: cannot read {file}: {error}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_row(line, f"{file}:{number}", scale, accept))
    if not rows:
        raise DataError(f"--labelled: {file} has no rows")
    return rows


def _row(line: str, where: str, scale: tuple[int, int], accept: int) -> LabelledAnswer:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON: {error}") from None
    missing = [name for name in _NEEDED if not isinstance(value, dict) or value.get(name) is None]
    if missing:
        raise DataError(
            f"{where}: no {' and no '.join(missing)}: each line is an object such as "
            '{"question": "...", "response": "...", "label": true}'
        )
    reference = value.get("reference")
    return LabelledAnswer(
        str(value["question"]),
        str(value["response"]),
        _accepted(value["label"], where, scale, accept),
        "" if reference is None else str(reference),
    )


def _accepted(label: Any, where: str, scale: tuple[int, int], accept: int) -> bool:
    low, high = scale
    if isinstance(label, bool):
        return label
    if isinstance(label, str) and label.strip().lower() in _WORDS:
        return _WORDS[label.strip().lower()]
    if isinstance(label, int | float) and low <= label <= high:
        return label >= accept
    raise DataError(
        f"{where}: label {label!r} is neither true or false, nor a score from {low} to {high} "
        "(judge.scale)"
    )
