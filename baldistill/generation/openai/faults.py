"""Decide what to do after a failed request: ask again, wait, give the row up, or stop.

The table in docs/teachers-http.md says the same in words.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import httpx2
import openai

from baldistill.generation.openai.limits import asked_wait
from baldistill.masking import masked_start
from baldistill.visible import visible

Remedy: TypeAlias = Literal["again", "wait", "row", "stop"]

_LONGEST = 300  # letters of a server's message that are quoted
_AWAY = frozenset({429, 502, 503, 504, 529})
_AGAIN = frozenset({408, 409, 425})
_STOPS = frozenset({401, 402, 403, 404, 405, 410})
_MODERATION = frozenset({"reasons", "flagged_input"})  # of OpenRouter, beside the message
_EMPTY_PURSE = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


@dataclass(frozen=True, slots=True)
class Fault:
    """A request without a usable answer.

    Attributes:
        words: A few fixed words, to count by.
        remedy: `again`: ask again, `max_retries` times at most; `wait`: the server is away or
            busy, so ask again until `patience_s` have passed; `row`: this row gets no answer;
            `stop`: no row would get one.
        detail: The exact cause, without any key.
        status: HTTP status; 0 without an answer.
        wait: Seconds that the server asks to wait.
        field: The field of the request that the server names, if any.
    """

    words: str
    remedy: Remedy
    detail: str
    status: int = 0
    wait: float | None = None
    field: str | None = None

    def __str__(self) -> str:
        """Return the text of an error row."""
        return f"{self.words}: {self.detail}"


class UnusableAnswerError(Exception):
    """The server reported success, but there is no answer in what it sent."""


class MovedError(Exception):
    """The server sends requests on to another server, where nothing was sent.

    Attributes:
        origin: Scheme, host and port of the other server.
    """

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.origin = origin


def fault_of(error: Exception, key: str) -> Fault:
    """Classify the error of a request; do not quote the key."""
    if isinstance(error, openai.APIStatusError):
        wait = asked_wait(error.response.headers, time.time())
        return refusal(error.status_code, error.body, key, wait)
    if isinstance(error, UnusableAnswerError):
        return Fault("unusable answer", "again", quoted(str(error), key))
    if isinstance(error, MovedError):
        return Fault(
            "redirected to another server",
            "stop",
            f"it sends requests on to {quoted(error.origin, key)}, where neither prompts nor the "
            "key were sent. If you trust that server, set teacher.base_url to it",
        )
    cause = error.__cause__ or error
    detail = quoted(str(cause) or type(cause).__name__, key)
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return Fault("no connection", "wait", detail)
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return Fault("timed out", "again", "no answer within timeout_s")
    return Fault("connection lost", "again", detail)


def refusal(status: int, body: Any, key: str, wait: float | None = None) -> Fault:
    """Classify an answer of an error status.

    Args:
        status: HTTP status, of a request or of a row in a batch.
        body: What came with it: an error object, wrapped or not, or a text.
        key: The API key, which must not be quoted.
        wait: Seconds that the server asks to wait.
    """
    body = _error_object(body)
    message = body.get("message") or f"HTTP status {status}"
    detail = f"{shown(message, key)} (HTTP {status})"
    field = body.get("param")
    field = field if isinstance(field, str) and len(field) <= _LONGEST else None
    metadata = body.get("metadata")

    def fault(words: str, remedy: Remedy, detail: str = detail) -> Fault:
        return Fault(words, remedy, detail, status, wait, field)

    if status == 429 and any(_is_one_of(body.get(n), _EMPTY_PURSE) for n in ("code", "type")):
        return fault("no credit left", "stop")
    if status == 401:  # servers repeat the key in part or whole: quote nothing
        return fault("key refused", "stop", "the server does not accept the key (HTTP 401)")
    if status == 403 and isinstance(metadata, dict) and _MODERATION & metadata.keys():
        return fault("request refused", "row")
    if status in _STOPS:
        return fault("refused", "stop")
    if status in _AWAY:
        return fault("too many requests" if status == 429 else "server unavailable", "wait")
    if status >= 500 or status in _AGAIN:
        return fault("server error", "again")
    return fault("request refused", "row")


def of_one_row(fault: Fault, answers: int) -> Fault:
    """Return the fault; blame a 403 on its row alone if the server answers other rows.

    Gateways answer 403 to a moderated input, too.
    """
    if fault.status == 403 and fault.remedy == "stop" and answers:
        return replace(fault, words="request refused", remedy="row")
    return fault


def _is_one_of(value: Any, words: frozenset[str]) -> bool:
    return isinstance(value, str) and value in words


def _error_object(body: Any) -> dict[str, Any]:
    """Return the error object, which some servers wrap; make one from any other body."""
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if isinstance(body, dict):
        return body if "message" in body else {**body, "message": body}
    return {"message": body} if isinstance(body, str) and body.strip() else {}


def shown(value: Any, key: str, most: int = _LONGEST) -> str:
    """Return any JSON value from outside as `quoted` does."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # deep brackets; a number of thousands of digits
        text = f"a {type(value).__name__} that cannot be shown"
    return quoted(text, key, most)


def quoted(text: str, key: str, most: int = _LONGEST) -> str:
    """Return a text from outside as one line, not too long, and without secrets.

    Secrets are masked first: a cut key would not be recognized.
    """
    text = visible(" ".join(masked_start(text, [key]).split()))
    return text if len(text) <= most else f"{text[:most]}..."
