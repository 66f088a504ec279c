"""Verdicts of a judge: what is asked for, and how a score is read. No text raises."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import json_repair

from baldistill.teacher.parsing import FENCE
from baldistill.teacher.repair import FAILURES, MOST_BRACKETS, MOST_CHARS

_LINE = re.compile(
    r"^[ \t>*_#\"']*score[ \t*_\"']*[:=][ \t*_\"']*(?P<score>-?\d+(?:\.\d+)?(?:[ \t]*/[ \t]*\d+)?)"
    r"[ \t*_\"'.,]*$",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r"(?P<score>-?\d+(?:\.\d+)?)(?:\s*/\s*(?P<of>\d+))?")


@dataclass(frozen=True, slots=True)
class Score:
    """A judge's score of a text, and the reason for it."""

    value: float
    reason: str


def verdict_schema(scale: tuple[int, int]) -> str:
    """Return the JSON schema of a verdict; the score is written after its reason."""
    low, high = scale
    score = {"type": "integer", "enum": list(range(low, high + 1))}
    return json.dumps(
        {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "score": score},
            "required": ["reason", "score"],
            "additionalProperties": False,
        }
    )


def read_verdict(text: str, scale: tuple[int, int], *, cut: bool = False) -> Score | None:
    """Read a verdict; None if it has no score, or one that is not on the scale.

    A JSON object is read as it is, or repaired where it is malformed. Without one, a line `Score:
    4` counts. An answer that was `cut` off counts only if its object is whole: a 10 may have lost
    its 0.
    """
    fenced = FENCE.match(text.strip())
    body = fenced.group(1) if fenced else text
    start, end = body.find("{"), body.rfind("}") + 1
    if start < 0:
        return None if cut else _of_line(body, scale)
    try:
        value = json.loads(body[start:end])
    except (ValueError, RecursionError):
        value = None if cut else _repaired(body[start:])
    return _of_object(value, scale)


def _repaired(body: str) -> Any:
    if len(body) > MOST_CHARS or body.count("{") + body.count("[") > MOST_BRACKETS:
        return None
    try:
        return json_repair.loads(body, skip_json_loads=True)
    except FAILURES:
        return None


def _of_object(value: Any, scale: tuple[int, int]) -> Score | None:
    if not isinstance(value, dict):
        return None
    said = value.get("score")
    score = _on_scale(said if isinstance(said, str) else _shown(said), scale)
    reason = value.get("reason")
    return None if score is None else Score(score, reason if isinstance(reason, str) else "")


def _shown(said: Any) -> str:
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    return f"{said:.15g}" if is_number and math.isfinite(said) else ""


def _of_line(body: str, scale: tuple[int, int]) -> Score | None:
    lines = list(_LINE.finditer(body))
    if not lines:
        return None
    score = _on_scale(lines[-1]["score"], scale)
    return None if score is None else Score(score, body[: lines[-1].start()].strip())


def _on_scale(said: str, scale: tuple[int, int]) -> float | None:
    """Return a number that is on the scale, also as `4/5`; None for any other text."""
    low, high = scale
    number = _NUMBER.fullmatch(said.strip())
    if number is None or (number["of"] is not None and int(number["of"]) != high):
        return None
    score = float(number["score"])
    return score if low <= score <= high else None
