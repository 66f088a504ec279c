"""Replies that no client should have to expect: known bad ones, and any number by a seed."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

from fault_matrix.teacher import Reply

_JSON = {"content-type": "application/json"}
_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**30, "7", "", [], {}, [[]], {"a": None}, "\ud800", "\x00", "x" * 999,
)  # fmt: skip
_COUNTS: tuple[Any, ...] = (float("inf"), float("nan"), -1, 1.5, "9", "many", [], {}, None, 10**40)
_TEXTS: tuple[Any, ...] = (None, 3, [], "", "\ud800\udfff", "\x00\x1b[2J")
_ENDS: tuple[Any, ...] = (None, 7, [], "length", "made up")
_CHOICES: tuple[Any, ...] = (None, {}, [], [None], ["text"], 1)
_BODIES = ("", "null", "[]", '"text"', "{", "NaN", "\ufeff{}", "\ud800")


def _answer(**fields: Any) -> dict[str, Any]:
    """Return a good answer with some fields of another value."""
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    text = "Because.\nAnswer: 3"
    message = {"role": "assistant", "content": text}  # in a chat; `text` is of /completions
    choice = {"index": 0, "text": text, "message": message, "finish_reason": "stop"}
    return {"id": "x", "object": "text_completion", "choices": [choice], "usage": usage, **fields}


def _ok(text: str) -> Reply:
    return 200, _JSON, text.encode("utf-8", "surrogatepass")


def _usage(**counts: Any) -> Reply:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, **counts}
    return _ok(json.dumps(_answer(usage=usage)))


def _choice(**fields: Any) -> Reply:
    choice = {"index": 0, "text": "Because.\nAnswer: 3", "finish_reason": "stop", **fields}
    return _ok(json.dumps(_answer(choices=[choice])))


WORST: dict[str, Reply | str] = {
    "NaN tokens": _usage(completion_tokens=float("nan")),
    "negative tokens": _usage(completion_tokens=-1000),
    "usage is text": _ok(json.dumps(_answer(usage="none"))),
    "nested brackets": _ok("[" * 100_000),
    "30 kB of gzip become 30 MB": (
        200, {**_JSON, "content-encoding": "gzip"}, gzip.compress(b" " * 30_000_000),
    ),
}  # fmt: skip
"""Five that other programs are given, too."""


def known() -> list[Reply | str]:
    """Return the replies that an audit found to break something, and their kin."""
    found: list[Reply | str] = [*WORST.values()]
    found += [_usage(completion_tokens=odd) for odd in _COUNTS]
    found += [_usage(prompt_tokens=odd) for odd in _COUNTS]
    found += [_choice(text=odd) for odd in _TEXTS]
    found += [_choice(finish_reason=odd) for odd in _ENDS]
    found += [_ok(json.dumps(_answer(choices=odd))) for odd in _CHOICES]
    found += [_ok(text) for text in _BODIES]
    found += [(200, {**_JSON, "content-length": "99999999"}, b"{}"), (204, {}, b""), "drop"]
    found += [(200, {"content-type": kind}, b"{}") for kind in ("text/html", "", "\u00e9/json")]
    odd_error = {"message": ["no"], "metadata": 3, "param": {}, "code": []}
    found += [(status, _JSON, json.dumps({"error": odd_error}).encode()) for status in (400, 422)]
    found += [(500, _JSON, b"\xff\xfe\x00"), (429, {"retry-after": "-1"}, b""), (413, {}, b"<p>")]
    return found


def drawn(number: int, rng: random.Random) -> list[Reply | str]:
    """Return as many replies: the known ones first, then damaged answers and noise."""
    found = known()[:number]
    while len(found) < number:
        if rng.random() < 0.2:
            found.append((200, _JSON, rng.randbytes(rng.randrange(200))))
        else:
            value = _answer()
            for _ in range(rng.randrange(1, 4)):
                value = _damaged(value, rng)
            found.append(_ok(json.dumps(value)))
    return found


def _damaged(value: Any, rng: random.Random) -> Any:
    """Replace something in a JSON value, at any depth, by something odd, or leave it out."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {key: item for key, item in value.items() if key != name}
        return {**value, name: _damaged(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        return [_damaged(v, rng) if i == place else v for i, v in enumerate(value)]
    return rng.choice(_ODD)
