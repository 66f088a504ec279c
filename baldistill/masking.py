"""Secrets in text: what users and servers write may hold keys, which no file or log may keep.

Whoever shortens a text masks it before: half a key is no longer recognized, and still tells half.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"
_LEAST_LETTERS = 8  # shorter texts in the place of a key, such as `none`, are words
_NAMES = (
    r"[\w-]*signature|[\w-]*credential|[\w-]*security[_-]?token|sig|sas|token|key|secret|"
    r"password|passwd|pwd|auth|authorization|[\w-]*api[_-]?key|[\w-]*access[_-]?key(?:[_-]?id)?|"
    r"[\w-]*secret[_-]?key|[\w-]*client[_-]?secret|[\w-]*account[_-]?key|awsaccesskeyid|"
    r"(?:access|auth|refresh|id|session|bearer)[_-]?token"
)
_SECRET_NAME = re.compile(rf"(?i)(?:{_NAMES})")
_USER = re.compile(r"(?<=://)[^/@\s?#'\"<>]+(?=@)")
_QUERY = re.compile(r"(?i)([?&;](?:" + _NAMES + r")=)[^\s&;#\"'<>|,)\]}]+")
_ASSIGNED = re.compile(
    r"(?i)(?<![\w-])((?:[\w-]*signature|[\w-]*api[_-]?key|[\w-]*access[_-]?key(?:[_-]?id)?|"
    r"[\w-]*secret[_-]?key|client[_-]?secret|account[_-]?key|(?:access|auth)[_-]?token|sig|secret|"
    r"password|passwd)(?:=|[\"']\s*:\s*[\"']?|:\s*))[^\s&;#\"'<>|,)\]}*]{6,}"
)
_HEADER = re.compile(
    r"(?i)\b(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|token)?\s*)[^\s\"',]+"
)
_KEY_LIKE = re.compile(
    r"(?i:\b(?:sk|pk|rk|key)-[\w*.-]{6,})|(?i:\bbearer\s+(?=\S*[\d._-])\S{8,})|"
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bhf_[A-Za-z0-9]{20,}|\bgh[opsu]_\w{20,}|"
    r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
)
_VARIABLE = re.compile(
    r"(?i)(?:api_?key|access_key|secret|secret_?key|token|password|account_key)$"
)


def is_secret_name(name: str) -> bool:
    """Return whether a parameter of this name, as of a URL, holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None


def masked_key(text: str, key: str) -> str:
    """Return a text without this key, however the text spells it; all else stays as it is."""
    if len(key) < _LEAST_LETTERS:
        return text
    for spelling in {key, repr(key)[1:-1], json.dumps(key)[1:-1], quote(key, safe="")}:
        text = text.replace(spelling, MASK)
    return text


def masked_text(text: str, keys: Iterable[str] = ()) -> str:
    """Return a text without secrets: these keys, those of the environment, and what looks like one.

    In a URL these are its user and password and the secret parameters of its query.
    """
    for key in (*keys, *_environment()):
        text = masked_key(text, key)
    if "://" in text:
        text = _USER.sub(MASK, text)
    if "=" in text or ":" in text:
        text = _QUERY.sub(rf"\1{MASK}", text)
        text = _ASSIGNED.sub(rf"\1{MASK}", text)
        text = _HEADER.sub(rf"\1{MASK}", text)
    return _KEY_LIKE.sub(MASK, text)


def _environment() -> Iterable[str]:
    """Return the secrets of this process's environment, by the names of the variables."""
    for name, value in os.environ.items():
        if _VARIABLE.search(name) and any(letter.isdigit() for letter in value):
            yield value.strip()
