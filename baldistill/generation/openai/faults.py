"""What went wrong with a request, and what to do: ask again, wait, give the row up, or stop.

The table in docs/teachers-http.md says the same in words.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import httpx2
import openai

from baldistill.generation.openai.limits import asked_wait

Remedy: TypeAlias = Literal["again", "wait", "row", "stop"]

_LONGEST = 300  # letters of a server's message that are quoted
_KEY_LIKE = re.compile(r"(?i)\b(?:sk|pk|rk|key)-[\w*.-]{6,}|\bbearer\s+\S+")
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


def fault_of(error: Exception, key: str) -> Fault:
    """Classify the error of a request; do not quote the key."""
    if isinstance(error, openai.APIStatusError):
        wait = asked_wait(error.response.headers, time.time())
        return refusal(error.status_code, error.body, key, wait)
    if isinstance(error, UnusableAnswerError):
        return Fault("unusable answer", "again", quoted(str(error), key))
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
    detail = f"{quoted(str(message), key)} (HTTP {status})"
    field = body.get("param")
    code = {str(body.get("code")), str(body.get("type"))}

    def fault(words: str, remedy: Remedy, detail: str = detail) -> Fault:
        return Fault(words, remedy, detail, status, wait, field if isinstance(field, str) else None)

    if status == 429 and code & _EMPTY_PURSE:
        return fault("no credit left", "stop")
    if status == 401:  # servers repeat the key in part or whole: quote nothing
        return fault("key refused", "stop", "the server does not accept the key (HTTP 401)")
    if status == 403 and _MODERATION & set(body.get("metadata") or ()):
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


def _error_object(body: Any) -> dict[str, Any]:
    """Return the error object, which some servers wrap; make one from any other body."""
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if isinstance(body, dict):
        return body if "message" in body else {**body, "message": str(body)}
    return {"message": body} if isinstance(body, str) and body.strip() else {}


def quoted(text: str, key: str) -> str:
    """Return a text from outside as one line, not too long, and without keys."""
    text = " ".join((text.replace(key, "***") if key else text).split())
    text = _KEY_LIKE.sub("***", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
