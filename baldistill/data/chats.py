"""Chats: a column of turns becomes question, gold answer and context.

A turn is `{role, content}` or `{from, value}`. The last turn of the user is the question, and what
the assistant says to it the gold answer. The system text and the earlier turns are the context.
With `data.columns.each_turn`, each turn of the assistant makes an example of its own.

The readers of files hand a chat on as JSON text. So a text column of JSON, as in CSV, is one, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.config import DataConfig
from baldistill.data.rows import BadRow, RawBlock, Reason, answer_column
from baldistill.data.sources import Role
from baldistill.data.text import BLANK, normalise
from baldistill.records import OPTIONAL

MESSAGES = "messages"
CHAT = "chat"
"""Our name of a column: a hash of the whole chat that a turn is from, with `each_turn` alone."""
MAX_TURNS = 1 << 10

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "model"), "assistant"),
}
_CONTEXT = OPTIONAL.field("context").type

Turn: TypeAlias = dict[str, str]
Example: TypeAlias = tuple[list[Turn], str, str | None]
"""Context, question, and the assistant's answer to it."""


class ChatError(ValueError):
    """A chat that cannot be used: why, in a word and for a person."""

    def __init__(self, detail: str, reason: Reason = "malformed_chat") -> None:
        super().__init__(detail)
        self.reason: Reason = reason


def as_text(value: Any) -> str | None:
    """Return a chat as JSON text; a text stays as it is."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def with_chats(block: RawBlock, config: DataConfig, role: Role) -> RawBlock:
    """Return a block with columns `question` and `context` in place of chats, and their answers.

    The block of a corpus without chats is returned as it is.
    """
    if MESSAGES not in block.columns:
        return block
    columns = config.columns
    from_chat = answer_column(config, role) == columns.messages
    rows: list[int] = []  # index in the block, of each example
    found: list[Example] = []
    chats: list[str] = []
    turns: list[int] = []
    bad = list(block.bad)
    for index, chat in enumerate(read_chats(block.columns[MESSAGES].to_pylist())):
        try:
            if isinstance(chat, ChatError):
                raise chat
            examples = examples_of(chat, each=columns.each_turn, needs_answer=from_chat)
        except ChatError as error:
            content = block.content(index)
            bad.append(BadRow(int(block.rows[index]), error.reason, str(error), content))
            continue
        rows += [index] * len(examples)
        found += examples
        if columns.each_turn:
            chats += [_hash(chat)] * len(examples)
            turns += range(len(examples))
    taken = pa.array(rows, pa.int64())
    texts = {n: column.take(taken) for n, column in block.columns.items() if n != MESSAGES}
    texts["question"] = pa.array([question for _, question, _ in found], pa.string())
    if from_chat:
        texts["answer"] = pa.array([answer for _, _, answer in found], pa.string())
    if columns.each_turn:
        texts[CHAT] = pa.array(chats, pa.string())
    context = pa.array([before or None for before, _, _ in found], _CONTEXT)
    extra = {name: column.take(taken) for name, column in block.extra.items()}
    return RawBlock(
        block.rows[rows],
        texts,
        None if block.choices is None else block.choices.take(taken),
        None if block.raw is None else block.raw.take(taken),
        sorted(bad, key=lambda row: row.row),
        extra | {"context": context},
        np.array(turns, np.int64) if columns.each_turn else None,
    )


def read_chats(texts: Sequence[str | None]) -> list[list[Turn] | ChatError]:
    """Return the turns of each chat, or why it is none.

    A chat has a system text at most at the beginning, then user and assistant take turns.
    """
    found: list[list[Turn] | ChatError] = []
    for text in texts:
        try:
            found.append(_parsed(text))
        except ChatError as error:
            found.append(error)
    # all texts at once: a call of Arrow's costs more than what it does to one text
    chats = [chat for chat in found if not isinstance(chat, ChatError)]
    contents = normalise(pa.array([t["content"] for chat in chats for t in chat], pa.string()))
    blank = iter(pc.match_substring_regex(contents, BLANK).to_pylist())
    clean = iter(contents.to_pylist())
    for number, chat in enumerate(found):
        if isinstance(chat, ChatError):
            continue
        turns = [{"role": turn["role"], "content": next(clean)} for turn in chat]
        is_blank = [next(blank) for _ in turns]
        if turns[0] == {"role": "system", "content": ""}:  # many chats have none, and say it so
            del turns[0], is_blank[0]
        found[number] = _problem(turns, is_blank) or turns
    return found


def _parsed(text: str | None) -> list[Turn]:
    if text is None or not text.strip():
        raise ChatError("the chat is missing or null", "missing")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ChatError("no list of turns but a text that is no JSON") from None
    if not isinstance(value, list):
        raise ChatError(f"no list of turns but {_kind(value)}")
    if not value:
        raise ChatError("a chat without turns", "empty")
    return [_turn(turn, number) for number, turn in enumerate(value, 1)]


def _turn(turn: Any, number: int) -> Turn:
    if not isinstance(turn, dict):
        raise ChatError(f"turn {number} is {_kind(turn)}, not an object with role and content")
    keys = ("role", "content") if "role" in turn else ("from", "value")
    if not set(keys) <= turn.keys():
        raise ChatError(f"turn {number} has neither role and content nor from and value")
    name, content = (turn[key] for key in keys)
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        known = ", ".join(_ROLES)
        raise ChatError(f"turn {number}: no role that is known is {name!r:.60} ({known})")
    if isinstance(content, list):
        content = _joined(content, number)
    if not isinstance(content, str):
        raise ChatError(f"turn {number} ({role}) has no text but {_kind(content)}")
    if not content.isascii():
        try:
            content.encode()
        except UnicodeEncodeError:
            detail = "a turn holds half of a surrogate pair"
            raise ChatError(detail, "invalid_utf8") from None
    return {"role": role, "content": content}


def _joined(parts: Sequence[Any], number: int) -> str:
    """Join the parts of a content, as the OpenAI API has them; pictures and sounds are refused."""
    texts = []
    for part in parts:
        is_text = isinstance(part, Mapping) and part.get("type", "text") == "text"
        if not is_text or not isinstance(part.get("text"), str):
            raise ChatError(f"turn {number} has a part that is no text")
        texts.append(part["text"])
    return "\n".join(texts)


def _problem(turns: Sequence[Turn], is_blank: Sequence[bool]) -> ChatError | None:
    """Return what is wrong with the order of the turns, or that one of them is empty."""
    expected = "user"
    for number, turn in enumerate(turns, 1):
        role = turn["role"]
        if role == "system" and number == 1:
            continue
        if role != expected:
            where = f"turn {number} is the {role}'s"
            return ChatError(
                f"{where} where the {expected}'s should be: user and assistant in turn"
            )
        expected = "assistant" if role == "user" else "user"
    if not any(turn["role"] == "user" for turn in turns):
        return ChatError("a chat without a turn of the user")
    for turn, empty in zip(turns, is_blank, strict=True):
        if empty:
            return ChatError(f"a turn of the {turn['role']} is empty", "empty")
    return None


def examples_of(chat: Sequence[Turn], *, each: bool, needs_answer: bool) -> list[Example]:
    """Return the examples of a chat: of the last question, or with `each` of each answer.

    Without `needs_answer`, the last question needs none, and what the assistant says is left out.

    Raises:
        ChatError: There is no answer where one is needed, or there are too many.
    """
    asked = [place for place, turn in enumerate(chat) if turn["role"] == "user"]
    answers = {
        place: chat[place + 1]["content"] if place + 1 < len(chat) else None for place in asked
    }
    if each or needs_answer:
        asked = [place for place in asked if answers[place] is not None]
        if not asked or (not each and asked[-1] + 2 < len(chat)):
            raise ChatError("the chat ends with the user: it has no answer", "missing")
    if len(asked) > MAX_TURNS:
        raise ChatError(f"a chat with {len(asked)} answers; at most {MAX_TURNS} are read")
    wanted = asked if each else asked[-1:]
    return [(list(chat[:place]), chat[place]["content"], answers[place]) for place in wanted]


def _hash(chat: Sequence[Turn]) -> str:
    text = json.dumps([[turn["role"], turn["content"]] for turn in chat], ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _kind(value: Any) -> str:
    match value:
        case None:
            return "a null"
        case str():
            return "a text"
        case list():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return "a number or boolean"
