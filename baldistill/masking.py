"""Secrets in text: what users and servers write may hold keys, which no file or log may keep.

Whoever shortens a text masks it before: half a key is no longer recognized, and still tells half.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from functools import cache
from urllib.parse import quote

MASK = "***"
_LEAST_LETTERS = 8  # shorter texts in the place of a key, such as `none`, are words
_READ, _LONGEST_SECRET = 16_384, 4096  # letters of a long text that are looked at; of a secret
_WORD = r"[\w-]{0,40}"  # bounded: a run of letters must not cost the square of its length

_PARAMETER = (
    rf"(?:{_WORD}(?:secret|passw|token|signature|credential|(?:access|account|api)[_-]?key){_WORD}"
    r"|awsaccesskeyid|sig|sas|pwd|auth|key)"
)
_FIELD = (
    rf"(?:{_WORD}(?:signature|password|(?:api|access|secret|account)[_-]?key(?:[_-]?id)?|"
    r"(?:access|auth|session|security)[_-]?token|client[_-]?secret)|sig|secret|passwd)"
)
_END = r"[^\s&;#\"'<>|,)\]}]"
_USER = re.compile(r"(?i)(?<=://)[^/@\s:\"'<>]*:[^/@\s\"'<>]*(?=@)|(?<=http://)[^/@\s\"'<>]+(?=@)|"
                   r"(?<=https://)[^/@\s\"'<>]+(?=@)")  # fmt: skip
_QUERY = re.compile(rf"(?i)([?&;]{_PARAMETER}=)(?!\*){_END}+")
_ASSIGNED = re.compile(
    rf"(?i)(?<![\w-])({_FIELD}(?:=|[\"']\s?:\s?[\"']?|:\s?))(?!\*)(?:{_END}){{6,}}"
)
_HEADER = re.compile(
    r"(?i)\b(authorization[\"']?\s?[:=]\s?[\"']?)(?!\*)(?:(?:basic|bearer|token)\s)?[^\s\"',]+"
)
_KEY_LIKE = re.compile(
    r"(?i:\b(?:sk|pk|rk|key)-[\w*.-]{6,})|(?i:\bbearer\s+(?!\*)(?=\S{0,200}[\d._-])\S{8,})|"
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bhf_[A-Za-z0-9]{20,}|\bgh[opsu]_\w{20,}|"
    r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
)
_SIGNS = (  # one of them is in every text that the patterns above find something in
    "@", "signature", "credential", "passw", "secret", "token", "bearer", "authorization", "key",
    "sig", "sas=", "pwd=", "auth=", "sk-", "pk-", "rk-", "hf_", "gh", "akia", "asia", "aiza", "eyj",
)  # fmt: skip
_VARIABLE = re.compile(
    r"(?i)(?:api_?key|access_key|secret|secret_?key|token|password|account_key)$"
)


def masked_key(text: str, key: str) -> str:
    """Return a text without this key, however the text spells it; all else stays as it is."""
    if len(key) < _LEAST_LETTERS:
        return text
    for spelling in {key, repr(key)[1:-1], json.dumps(key)[1:-1], quote(key, safe="")}:
        text = text.replace(spelling, MASK)
    return text


def masked_urls(text: str) -> str:
    """Return a text whose URLs have neither a password nor secret parameters in their queries."""
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\1{MASK}", _USER.sub(MASK, text))


def masked_text(text: str, keys: Iterable[str] = ()) -> str:
    """Return a text without secrets: these keys, those of the environment, and what looks like one.

    The text of a model or of a corpus that is used, not reported, is no subject of this: only the
    key is taken out of it, by `masked_key`.
    """
    for key in (*keys, *_environment()):
        text = masked_key(text, key)
    lower = text.lower()
    if not any(sign in lower for sign in _SIGNS):
        return text
    text = _USER.sub(MASK, text)
    for pattern in (_QUERY, _ASSIGNED, _HEADER):
        text = pattern.sub(rf"\1{MASK}", text)
    return _KEY_LIKE.sub(MASK, text)


def masked_start(text: str, keys: Iterable[str] = ()) -> str:
    """Return the first 10,000 letters of a text, or more, masked: to be cut further."""
    if len(text) <= _READ:
        return masked_text(text, keys)
    return masked_text(text[:_READ], keys)[:-_LONGEST_SECRET]  # its end may be half a key


def _environment() -> Iterable[str]:
    """Return the secrets of this process's environment, by the names of the variables."""
    for name in os.environ:
        if _names_secret(name):
            value = os.environ.get(name, "").strip()
            if any(letter.isdigit() for letter in value):
                yield value


@cache
def _names_secret(variable: str) -> bool:
    return _VARIABLE.search(variable) is not None
