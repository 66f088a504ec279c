"""Repair a malformed JSON answer that was paid for, where no letter of it changes.

json-repair decides what was meant: quotes inside a text, a comma too few or too many, single
quotes, backslashes of LaTeX. It repairs anything, if need be by leaving text out. So its result
counts only if the answer holds nothing but these three texts, as they were written, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import json_repair

NAMES = ("question", "rationale", "answer")

MOST_CHARS = 20_000
MOST_BRACKETS = 500
"""Bounds of the time: json-repair takes some 20 ms for so many brackets, and their square."""

FAILURES = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors that json-repair raises on noise."""

_QUOTE = "[\"'`\u2018\u2019\u201c\u201d]"
_OPENING = re.compile(rf"\{{\s*{_QUOTE}?{NAMES[0]}")
_NAMED = [re.compile(rf"{name}{_QUOTE}?\s*:\s*{_QUOTE}") for name in NAMES]
_UNKNOWN_ESCAPE = re.compile(r'\\(?:\\|(?=["/bfnrtu])|(?P<unknown>.))', re.DOTALL)
_DOUBTFUL = re.compile(r"(?<!\\)(?:\\\\)*\\[bfnrt][a-z]")
_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|[nrt"\\/])')
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def repaired_object(text: str) -> Mapping[str, str] | None:
    """Return the three texts of a malformed JSON object; None if they cannot be made out.

    An object that ends within its last text is none: what follows is not known.
    """
    opening, stop = _OPENING.search(text), text.rfind("}") + 1
    if opening is None:
        return None
    start = opening.start()
    body = text[start:stop] if stop > start else text[start:].rstrip()
    if len(body) > MOST_CHARS or body.count("{") + body.count("[") > MOST_BRACKETS:
        return None
    if not all(name.search(body) for name in _NAMED):
        return None
    if _is_latex(body) and _DOUBTFUL.search(body):  # `\nu` may be a line end, or a letter
        return None
    try:
        value = json_repair.loads(body, skip_json_loads=True)
    except FAILURES:
        return None
    if not isinstance(value, dict) or tuple(value) != NAMES:
        return None
    texts = list(value.values())
    if not all(isinstance(part, str) and _is_certain(part) for part in texts):
        return None
    return value if _is_all_of(body, texts) else None


def _is_latex(body: str) -> bool:
    """Return whether a backslash stands before what JSON cannot escape."""
    return any(match["unknown"] for match in _UNKNOWN_ESCAPE.finditer(body))


def _is_certain(text: str) -> bool:
    """Return whether a text has no control characters, and no comma that may be the object's."""
    return not _CONTROL.search(text) and not text.rstrip().endswith(",")


def _is_all_of(body: str, texts: list[str]) -> bool:
    """Return whether an object holds these texts as they are, quoted, and nothing else."""
    pairs = [
        f"{_QUOTE}?{name}{_QUOTE}?:{_QUOTE}{{1,3}}{re.escape(_plain(text))}{_QUOTE}{{1,3}},*"
        for name, text in zip(NAMES, texts, strict=True)
    ]
    written = _plain(_ESCAPE.sub(_unescaped, body))
    return re.fullmatch("{" + "".join(pairs) + "}*", written) is not None


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "u":
        return chr(int(code[1:], 16))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(code, code)


def _plain(text: str) -> str:
    r"""Return a text without white space and backslashes, however `\alpha` is escaped."""
    return re.sub(r"[\s\\]", "", text)
