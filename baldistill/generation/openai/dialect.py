"""Requests and answers of OpenAI-compatible servers, which differ in what they accept."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from baldistill.answers.completion import Completion
from baldistill.config.engines import OpenAIOptions
from baldistill.generation.openai.faults import Fault, UnusableAnswerError
from baldistill.generation.types import Prompt, Request, Sampling

_LETTERS_PER_TOKEN = 4  # a guess, where no server has counted
_UNKNOWN = re.compile(
    r"(?i)unsupported|not support|unknown|unrecogni[sz]ed|unexpected|extra|not permitted|"
    r"not allowed|additional propert|does not support|only the default|invalid"
)
_SCHEMA = re.compile(r"(?i)response_format|json_schema|json_object|schema|grammar|guided|\bjson\b")
_CUT = frozenset({"length", "max_tokens", "model_length"})
_ENDED = frozenset(
    {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "tool_calls", "function_call"}
)
_OPTIONAL = ("seed", "logprobs", "top_p", "temperature")


@dataclass(slots=True)
class Dialect:
    """The fields that a server accepts, as learnt from its refusals; shared by all requests.

    Attributes:
        options: Of the config.
        dropped: Fields that the server refused.
        long_name: The server wants `max_completion_tokens` where others want `max_tokens`.
        schema_level: 2: its answers follow a JSON schema; 1: they are JSON; 0: neither.
    """

    options: OpenAIOptions
    dropped: set[str] = field(default_factory=set)
    long_name: bool = False
    schema_level: int = 2

    def body(self, model: str, request: Request, sampling: Sampling) -> dict[str, Any]:
        """Return the fields of a request; those of /chat/completions have `messages`."""
        api = self.options.api
        chat = api == "chat" or (api == "auto" and not isinstance(request.prompt, str))
        longest = "max_completion_tokens" if chat and self.long_name else "max_tokens"
        body: dict[str, Any] = {
            "model": model,
            longest: sampling.max_new_tokens,
            "temperature": sampling.temperature,
        }
        if chat:
            body["messages"] = _turns(request.prompt)
        else:
            body["prompt"] = self.options.bos + _text(request.prompt)
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.temperature > 0:
            body["seed"] = request.seed & 0x7FFFFFFF  # some servers keep 32 bits
        if self.options.logprobs:
            body["logprobs"] = True if chat else 1
        if sampling.json_schema is not None and self.schema_level > 0:
            body["response_format"] = self._response_format(sampling.json_schema)
        for name in self.dropped:
            body.pop(name, None)
        return {**body, **self.options.extra_body}

    def learn(self, fault: Fault, sent: dict[str, Any]) -> str | None:
        """Learn which field to leave out; return a message for the user, or None."""
        if fault.status not in (400, 422):
            return None
        named = {fault.field} if fault.field else set(re.findall(r"\w+", fault.detail))
        if "response_format" in sent and (
            "response_format" in named or _SCHEMA.search(f"{fault.field} {fault.detail}")
        ):
            # another row may have lowered the level meanwhile
            level = 2 if sent["response_format"]["type"] == "json_schema" else 1
            self.schema_level = min(self.schema_level, level - 1)
            return f"the server takes no {sent['response_format']['type']}: {fault.detail}"
        if not _UNKNOWN.search(fault.detail):
            return None
        if "max_tokens" in named and "messages" in sent and "max_tokens" in sent:
            self.long_name = True
            return "the server wants max_completion_tokens"
        for name in _OPTIONAL:
            if name in named and name in sent and name not in self.options.extra_body:
                self.dropped.add(name)
                return f"the server takes no {name}, it is left out: {fault.detail}"
        return None

    def to_text(self) -> str:
        """Return what was learnt, for another process to `adopt`."""
        return json.dumps([sorted(self.dropped), self.long_name, self.schema_level])

    def adopt(self, text: str) -> None:
        """Add what another process learnt of the same server and model."""
        dropped, long_name, schema_level = json.loads(text)
        self.dropped |= set(dropped)
        self.long_name |= long_name
        self.schema_level = min(self.schema_level, schema_level)

    def _response_format(self, schema: str) -> dict[str, Any]:
        if self.schema_level == 1:
            return {"type": "json_object"}
        fields = json.loads(schema)
        named: dict[str, Any] = {"name": "answer", "schema": fields}
        if fields.get("additionalProperties") is False:  # OpenAI's strict mode requires it
            named["strict"] = True
        return {"type": "json_schema", "json_schema": named}


def estimated_tokens(prompt: Prompt) -> int:
    """Estimate the tokens of a prompt before a server has counted them."""
    return 1 + len(_text(prompt).encode()) // _LETTERS_PER_TOKEN


def completion_of(request: Request, answer: Any) -> Completion:
    """Read a server's answer.

    Raises:
        UnusableAnswerError: There is no answer in it.
    """
    try:
        choice = answer["choices"][0]
        message = choice.get("message")
        text = choice["text"] if message is None else message.get("content")
        finish = str(choice.get("finish_reason") or "stop").lower()
        usage = answer.get("usage") or {}
    except (KeyError, IndexError, TypeError, AttributeError):
        raise UnusableAnswerError(f"no choice in {str(answer)[:200]}") from None
    if finish == "content_filter":
        return Completion.failed(request.request_id, "content filter: the server withheld it")
    if text is None and message and message.get("refusal"):
        return Completion.failed(request.request_id, f"model refused: {message['refusal']}")
    if finish not in _CUT | _ENDED:  # `error`, `abort`: the text is cut
        raise UnusableAnswerError(f"finish_reason {finish!r} in {str(choice)[:200]}")
    if text is None and finish in _CUT:
        text = ""  # a reasoning model that was cut before its answer
    if not isinstance(text, str):
        raise UnusableAnswerError(f"no text in {str(choice)[:200]}")
    try:
        logprobs = _logprobs(choice.get("logprobs"), text, finish)
    except (KeyError, TypeError, ValueError):
        raise UnusableAnswerError(f"no log-probabilities in {str(choice)[:200]}") from None
    return Completion(
        request_id=request.request_id,
        text=text,
        token_ids=np.empty(0, np.int32),  # servers return texts alone
        logprobs=logprobs,
        prompt_tokens=usage.get("prompt_tokens") or estimated_tokens(request.prompt),
        finish_reason="length" if finish in _CUT else "stop",
        billed_tokens=usage.get("completion_tokens") or estimated_tokens(text),
    )


def _logprobs(given: Any, text: str, finish: str) -> np.ndarray:
    """Read log-probabilities of a chat or a completion; empty if the server gave none."""
    tokens: list[tuple[str, float]] = []
    if isinstance(given, dict) and isinstance(given.get("content"), list):
        tokens = [(token["token"], token["logprob"]) for token in given["content"]]
    elif isinstance(given, dict) and isinstance(given.get("token_logprobs"), list):
        tokens = list(zip(given["tokens"], given["token_logprobs"], strict=True))
    if finish not in _CUT and tokens and not (tokens[-1][0] and text.endswith(tokens[-1][0])):
        tokens.pop()  # vLLM counts the end-of-sequence token too
    return np.asarray([logprob for _, logprob in tokens], dtype=np.float32)


def _turns(prompt: Prompt) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def _text(prompt: Prompt) -> str:
    """Return a prompt as plain text: turns are joined as for a model without a chat template."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(turn.content for turn in prompt) + "\n"
