"""Turn a server's reply into a completion of valid types, or find no answer in it.

Nothing that comes later checks again: texts can be written as UTF-8, counts are whole numbers that
the call could have had, and no field is of another type.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from baldistill.answers.completion import (
    Completion,
    encodable,
    estimated_tokens,
    whole_number,
)
from baldistill.generation.openai.faults import UnusableAnswerError, shown
from baldistill.generation.types import Request, Sampling, max_prompt_tokens, plain_text
from baldistill.masking import masked_key

_MARGIN = 4  # times the bound that was reserved: some servers add texts of their own, or think on
_CUT = frozenset({"length", "max_tokens", "model_length"})
_ENDED = frozenset(
    {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "tool_calls", "function_call"}
)

_THOUGHTS = ("reasoning_content", "reasoning")  # DeepSeek, SGLang; vLLM, Ollama, OpenRouter


def completion_of(request: Request, sampling: Sampling, answer: Any, key: str) -> Completion:
    """Read a server's answer, which may be any JSON value; mask the key in what it says.

    Raises:
        UnusableAnswerError: There is no answer in it.
    """
    try:
        choice = answer["choices"][0]
        message = choice.get("message")
        text = choice["text"] if message is None else message.get("content")
        finish = choice.get("finish_reason") or "stop"
        refusal = None if message is None else message.get("refusal")
        usage = answer.get("usage")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise UnusableAnswerError(f"no choice in {shown(answer, key)}") from None
    finish = finish.lower() if isinstance(finish, str) else finish
    if finish == "content_filter":
        return Completion.failed(request.request_id, "content filter: the server withheld it")
    if text is None and refusal:
        return Completion.failed(request.request_id, f"model refused: {shown(refusal, key)}")
    if not isinstance(finish, str) or finish not in _CUT | _ENDED:  # `error`, `abort`: it is cut
        raise UnusableAnswerError(f"finish_reason {shown(finish, key)} in {shown(choice, key)}")
    if text is None and finish in _CUT:
        text = ""  # a reasoning model that was cut before its answer
    if not isinstance(text, str):
        raise UnusableAnswerError(f"no text in {shown(choice, key)}")
    try:
        logprobs = _logprobs(choice.get("logprobs"), text, finish)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UnusableAnswerError(f"no log-probabilities in {shown(choice, key)}") from None
    text = masked_key(encodable(_with_thoughts(text, message, finish)), key)
    read, written, odd = _tokens(request, sampling, usage, text)
    return Completion(
        request_id=request.request_id,
        text=text,
        token_ids=np.empty(0, np.int32),  # servers return texts alone
        logprobs=logprobs,
        prompt_tokens=read,
        finish_reason="length" if finish in _CUT else "stop",
        billed_tokens=written,
        odd_usage=shown(usage, key, 100) if odd else "",
    )


def _with_thoughts(text: str, message: Any, finish: str) -> str:
    """Return an answer behind the thoughts that the server gave apart, in `<think>`.

    So answers of all engines look alike in the store. Thoughts of an answer that was cut off before
    its first word have no end.
    """
    given = [message.get(name) for name in _THOUGHTS] if isinstance(message, dict) else []
    thoughts = next((one for one in given if isinstance(one, str) and one.strip()), None)
    if thoughts is None or "</think>" in text:
        return text
    opening = f"<think>\n{thoughts.replace('</think>', '').strip()}\n"
    return opening if finish in _CUT and not text.strip() else f"{opening}</think>\n\n{text}"


def _tokens(request: Request, sampling: Sampling, usage: Any, text: str) -> tuple[int, int, bool]:
    """Return the tokens read and written, and whether the server's counts are impossible.

    An estimate stands in for a count that is impossible or missing. It is never above the bound
    that the ledger reserved for the call.
    """
    most_read = max_prompt_tokens(request.prompt, sampling)
    most_written = sampling.max_new_tokens
    read = min(most_read, estimated_tokens(plain_text(request.prompt)))
    written = min(most_written, estimated_tokens(text))
    if usage is None:
        return read, written, False
    if not isinstance(usage, dict):
        return read, written, True
    counts = []
    odd = False
    for name, most, estimate in (
        ("prompt_tokens", most_read, read), ("completion_tokens", most_written, written),
    ):  # fmt: skip
        given = usage.get(name)
        count = whole_number(given, _MARGIN * (most + 1024))
        odd |= count is None and given is not None
        counts.append(count or estimate)  # a server that does not count may say 0
    return counts[0], counts[1], odd


def _logprobs(given: Any, text: str, finish: str) -> np.ndarray:
    """Read log-probabilities of a chat or a completion; empty if the server gave none."""
    tokens: list[tuple[str, float]] = []
    if isinstance(given, dict) and isinstance(given.get("content"), list):
        tokens = [(token["token"], token["logprob"]) for token in given["content"]]
    elif isinstance(given, dict) and isinstance(given.get("token_logprobs"), list):
        tokens = list(zip(given["tokens"], given["token_logprobs"], strict=True))
    if finish not in _CUT and tokens and not (tokens[-1][0] and text.endswith(tokens[-1][0])):
        tokens.pop()  # vLLM counts the end-of-sequence token too
    figures = [math.nan if logprob is None else float(logprob) for _, logprob in tokens]
    with np.errstate(over="ignore"):
        return np.asarray(figures, dtype=np.float64).astype(np.float32)
