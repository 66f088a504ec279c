"""Replies that no client should have to expect: those of the tests, and any number by a seed."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

from servers.hostile import ANSWERS

from fault_matrix.teacher import Reply

_JSON = {"content-type": "application/json"}
_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**30, "7", "", [], {}, [[]], {"a": None}, "\ud800", "\x00", "x" * 999,
)  # fmt: skip


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


WORST: dict[str, Reply] = {
    "NaN tokens": _usage(completion_tokens=float("nan")),
    "negative tokens": _usage(completion_tokens=-1000),
    "usage is text": _ok(json.dumps(_answer(usage="none"))),
    "nested brackets": _ok("[" * 100_000),
    "30 kB of gzip become 30 MB": (
        200, {**_JSON, "content-encoding": "gzip"}, gzip.compress(b" " * 30_000_000),
    ),
}  # fmt: skip
"""Five that other programs are given, too."""


def drawn(number: int, rng: random.Random) -> list[Reply]:
    """Return as many replies: those that have names first, then damaged answers and noise.

    Those that speak for all later requests (a wrong key, another address) may end a run: no row
    would get an answer. They are left to `tests/unit/generation/openai/`.
    """
    found: list[Reply] = [name for name, answer in ANSWERS.items() if not answer.may_stop]
    rng.shuffle(found)
    found = found[: number * 3 // 4]
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
