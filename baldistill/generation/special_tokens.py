"""Special tokens that a text spells stay text: `<|im_end|>` in a question ends no turn.

A tokenizer turns each spelling of a special token into that token, wherever it stands. In a chat
that is right for the text of the chat template alone: a row of a corpus could otherwise end its
turn and answer itself. So spellings in contents are encoded as a tokenizer encodes any other text.
A text without such a spelling gets exactly the tokens that the tokenizer gives it.

`transformers` has no such protection (huggingface/transformers#29279). Its
`split_special_tokens` works on the whole rendered chat, and leaves out tokens that the template
uses although they are not flagged as special, such as `<think>`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

_PRIVATE_USE = range(0xF0000, 0xFFFFE)
_NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The special tokens of a tokenizer.

    Attributes:
        template: The chat template that they were found for.
        spelling: Matches the spelling of each.
        ids: Their numbers, without that of the unknown token, which any text may have.
    """

    template: object
    spelling: re.Pattern[str]
    ids: frozenset[int]


_known: WeakKeyDictionary[Any, SpecialTokens] = WeakKeyDictionary()


def special_tokens(tokenizer: Any) -> SpecialTokens:
    """Return the tokens of a tokenizer that structure a chat or a text.

    They are those that it flags as special and those that its chat template writes. A spelling of
    one character, or of whitespace alone, is ordinary text (some models pad with `!`).
    """
    template = getattr(tokenizer, "chat_template", None)
    known = _known.get(tokenizer)
    if known is not None and known.template == template:
        return known
    found = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    for number, token in tokenizer.added_tokens_decoder.items():
        if token.special or token.content in str(template or ""):
            found[token.content] = number
    spelled = [text for text in found if len(text) > 1 and text.strip()]
    longest_first = sorted(spelled, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    known = SpecialTokens(
        template,
        re.compile(pattern) if pattern else _NOTHING,
        frozenset(int(found[text]) for text in spelled) - {tokenizer.unk_token_id},
    )
    _known[tokenizer] = known
    return known


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts, in which no special token is spelled; together it is faster."""
    found = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    ordinary = [[int(token) for token in ids] for ids in found]
    special = special_tokens(tokenizer)
    return [
        _encode_around(tokenizer, text, special.spelling) if special.spelling.search(text) else ids
        for text, ids in zip(texts, ordinary, strict=True)
    ]


def encode_chat(
    tokenizer: Any, turns: Sequence[Mapping[str, str]], variables: Mapping[str, Any]
) -> list[int]:
    """Return the tokens of a chat with its chat template, whose special tokens alone count.

    Spellings in the contents are kept from the template, and from the encoding of what it writes,
    by marks in their place.
    """
    options = {**variables, "add_generation_prompt": True, "return_dict": False}
    spelling = special_tokens(tokenizer).spelling
    if not any(spelling.search(turn["content"]) for turn in turns):
        ids = tokenizer.apply_chat_template(turns, **{**options, "tokenize": True})
        return [int(token) for token in ids]
    everything = "".join(turn["content"] for turn in turns)
    mark = next(chr(code) for code in _PRIVATE_USE if chr(code) not in everything)
    hidden: list[str] = []

    def hide(found: re.Match[str]) -> str:
        hidden.append(found[0])
        return f"{mark}{len(hidden) - 1}{mark}"

    marked = [{**turn, "content": spelling.sub(hide, turn["content"])} for turn in turns]
    text = tokenizer.apply_chat_template(marked, **{**options, "tokenize": False})
    ids = []
    for place, part in enumerate(re.split(f"{mark}([0-9]+){mark}", text)):
        if place % 2:
            ids += _encode_spelling(tokenizer, hidden[int(part)])
        else:
            ids += _encode(tokenizer, part)
    return ids


def _encode_around(tokenizer: Any, text: str, spelling: re.Pattern[str]) -> list[int]:
    ids: list[int] = []
    end = 0
    for found in spelling.finditer(text):
        ids += _encode(tokenizer, text[end : found.start()])
        ids += _encode_spelling(tokenizer, found[0])
        end = found.end()
    return ids + _encode(tokenizer, text[end:])


def _encode_spelling(tokenizer: Any, text: str) -> list[int]:
    """Encode the spelling of a special token as text: as a whole if that works, else by signs."""
    forbidden = special_tokens(tokenizer).ids
    ids = _encode(tokenizer, text, split_special_tokens=True)
    if forbidden.isdisjoint(ids):
        return ids
    # Encode sign by sign, as the whole spelling became a special token: the tokenizer does not flag
    # the token as special, or the vocabulary has its spelling as a piece of text.
    return [i for sign in text for i in _encode(tokenizer, sign) if i not in forbidden]


def _encode(tokenizer: Any, text: str, **options: bool) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False, **options)["input_ids"] if text else []
    return [int(token) for token in ids]
