"""Requests to OpenAI-compatible servers, which differ in what they accept."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from baldistill.config.engines import OpenAIOptions
from baldistill.generation.openai.faults import Fault
from baldistill.generation.types import Prompt, Request, Sampling, plain_text

_UNKNOWN = re.compile(
    r"(?i)unsupported|not support|unknown|unrecogni[sz]ed|unexpected|extra|not permitted|"
    r"not allowed|additional propert|does not support|only the default|invalid"
)
_SCHEMA = re.compile(r"(?i)response_format|json_schema|json_object|schema|grammar|guided|\bjson\b")
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
            body["prompt"] = self.options.bos + plain_text(request.prompt)
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
        ours = self.options.extra_body  # fields that are sent whatever the server says
        named = {fault.field} if fault.field else set(re.findall(r"\w+", fault.detail))
        if "response_format" in sent.keys() - ours.keys() and (
            "response_format" in named or _SCHEMA.search(f"{fault.field} {fault.detail}")
        ):
            # another row may have lowered the level meanwhile
            level = 2 if sent["response_format"]["type"] == "json_schema" else 1
            self.schema_level = min(self.schema_level, level - 1)
            return f"the server takes no {sent['response_format']['type']}: {fault.detail}"
        if not _UNKNOWN.search(fault.detail):
            return None
        if "max_tokens" in named & (sent.keys() - ours.keys()) and "messages" in sent:
            self.long_name = True
            return "the server wants max_completion_tokens"
        for name in _OPTIONAL:
            if name in named and name in sent and name not in ours:
                self.dropped.add(name)
                return f"the server takes no {name}, it is left out: {fault.detail}"
        return None

    def to_text(self) -> str:
        """Return what was learnt, for another process to `adopt`."""
        return json.dumps([sorted(self.dropped), self.long_name, self.schema_level])

    def adopt(self, text: str) -> None:
        """Add what another process learnt of the same server and model.

        Raises:
            ValueError: The text says nothing of this kind.
        """
        try:
            dropped, long_name, schema_level = json.loads(text)
            known = set(dropped) <= set(_OPTIONAL) and isinstance(long_name, bool)
        except (RecursionError, TypeError):
            known = False
        if not known or isinstance(schema_level, bool) or schema_level not in (0, 1, 2):
            raise ValueError("no dialect")
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


def _turns(prompt: Prompt) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": turn.role, "content": turn.content} for turn in prompt]
