"""Turn text into tokens, the same way in generation, scoring and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from baldistill.errors import UserError
from baldistill.generation.special_tokens import encode_chat, encode_texts
from baldistill.generation.types import Continuation, Prompt, plain_text


def encode_prompt(
    tokenizer: Any, prompt: Prompt, variables: Mapping[str, Any] | None = None
) -> list[int]:
    """Return the tokens of a prompt, with beginning-of-sequence where the tokenizer has one.

    A chat goes through the tokenizer's chat template. A template without system turns gets the
    text of the system turn in front of the text of the next turn. A base model without a template
    gets the plain text of the turns, which ends with a newline: so prompt and response get the same
    tokens apart as together. `variables` are those of the chat template,
    such as `enable_thinking`. A special token that a text spells stays text (`special_tokens`).
    """
    (tokens,) = encode_prompts(tokenizer, [prompt], variables)
    return tokens


def encode_prompts(
    tokenizer: Any, prompts: Sequence[Prompt], variables: Mapping[str, Any] | None = None
) -> list[list[int]]:
    """Return the tokens of several prompts; plain texts go together, which is faster."""
    has_template = bool(getattr(tokenizer, "chat_template", None))
    encoded: list[list[int]] = [[] for _ in prompts]
    texts: dict[int, str] = {}
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            texts[number] = prompt
            continue
        if has_template:
            turns = [{"role": message.role, "content": message.content} for message in prompt]
            encoded[number] = _apply_template(tokenizer, turns, variables or {})
        else:
            texts[number] = plain_text(prompt)
    if texts:
        start = start_tokens(tokenizer)
        found = encode_texts(tokenizer, list(texts.values()))
        for number, ids in zip(texts, found, strict=True):
            encoded[number] = start + ids
    return encoded


def _apply_template(
    tokenizer: Any, turns: list[dict[str, str]], variables: Mapping[str, Any]
) -> list[int]:
    try:
        return encode_chat(tokenizer, turns, variables)
    except TemplateError as error:
        if turns[0]["role"] != "system" or len(turns) == 1:
            raise UserError(f"the model's chat template does not take a prompt: {error}") from None
        system, first, *others = turns
        joined = {**first, "content": f"{system['content']}\n\n{first['content']}"}
        return _apply_template(tokenizer, [joined, *others], variables)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a response, without special tokens, also where it spells some."""
    (tokens,) = encode_texts(tokenizer, [text])
    return tokens


def start_tokens(tokenizer: Any) -> list[int]:
    """Return the beginning-of-sequence token in a list, which is empty if there is none."""
    return [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]


def context_token(tokenizer: Any) -> int:
    """Return the token that stands before a text that is scored without context.

    It is beginning-of-sequence, or else end-of-sequence, or else padding. With a token before it,
    the first token of the text is scored too, so PPL(y|x) and PPL(y) cover the same tokens.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if token is not None:
            return int(token)
    raise UserError("the model's tokenizer has no bos, eos or pad token to start a text with")


def truncate_left(tokens: list[int], limit: int, start: list[int]) -> list[int]:
    """Cut a prompt that is too long: keep its end, and its start-of-sequence token if any."""
    if len(tokens) <= limit:
        return tokens
    start = start if tokens[: len(start)] == start else []
    return start + tokens[len(tokens) - max(limit - len(start), 0) :]


def prompt_limit(context: int, max_new_tokens: int, least: int = 1) -> int:
    """Return the most tokens of a prompt, if prompt and response share `context` tokens.

    Raises:
        UserError: Fewer than `least` tokens are left for a prompt.
    """
    limit = context - max_new_tokens
    if limit < least:
        raise UserError(
            f"max_new_tokens={max_new_tokens} leaves no room for a prompt in the "
            f"model's context of {context} tokens: lower it"
        )
    return limit


def encode_and_cut(
    tokenizer: Any,
    prompts: Sequence[Prompt],
    limit: int,
    variables: Mapping[str, Any] | None = None,
) -> list[tuple[list[int], bool]]:
    """Return the tokens of each prompt, at least one, and whether its beginning was cut off."""
    start, filler = start_tokens(tokenizer), [context_token(tokenizer)]
    return [
        (truncate_left(tokens, limit, start) or filler, len(tokens) > limit)
        for tokens in encode_prompts(tokenizer, prompts, variables)
    ]


def encode_continuations(
    tokenizer: Any,
    rows: Sequence[Continuation],
    context: int,
    variables: Mapping[str, Any] | None = None,
) -> list[tuple[list[int], list[int]]]:
    """Return the tokens before each text, at least one, and those of the text.

    With a prompt and without one, a text has the same tokens: its end is cut off where it is longer
    than half of the `context`. Then a prompt loses what is too much of its beginning.
    """
    start, filler = start_tokens(tokenizer), [context_token(tokenizer)]
    texts = [ids[: context // 2] for ids in encode_texts(tokenizer, [row.text for row in rows])]
    asked = [number for number, row in enumerate(rows) if row.prompt is not None]
    prompts = [rows[number].prompt or "" for number in asked]
    before = [filler] * len(rows)
    for number, ids in zip(asked, encode_prompts(tokenizer, prompts, variables), strict=True):
        room = context - 1 - len(texts[number])  # vLLM generates a token behind what it scores
        before[number] = truncate_left(ids, room, start) or filler
    return list(zip(before, texts, strict=True))


def end_tokens(tokenizer: Any, generation_config: Any) -> set[int]:
    """Return the tokens that end a response: the tokenizer's and those of the model."""
    ends = generation_config.eos_token_id
    ids = {ends} if isinstance(ends, int) else set(ends or ())
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    return ids
