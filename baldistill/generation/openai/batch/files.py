"""The contents of a batch: the file of its requests, its metadata, the lines of its answers.

The metadata of a batch say which requests the batch may hold. The server has room for 16 short
texts, so they hold a Bloom filter of the ids (Bloom 1970, "Space/time trade-offs in hash coding
with allowable errors", Communications of the ACM 13(7)). The filter never denies a request that is
in the batch. For a batch of up to some 1,500 requests, it affirms one of 300,000 other requests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baldistill.answers.completion import Completion, whole_number
from baldistill.generation.openai.answer import completion_of
from baldistill.generation.openai.bounded import json_value
from baldistill.generation.openai.faults import (
    Fault,
    UnusableAnswerError,
    fault_of,
    quoted,
    refusal,
    shown,
)
from baldistill.generation.types import Request, Sampling

MOST_ROWS, MOST_BYTES = 50_000, 200_000_000  # of a file, by OpenAI's rules
_OURS = "baldistill"
_FIELDS, _LETTERS = 13, 512  # of the filter: 3 of the 16 texts describe the batch
_MOST_BITS = _FIELDS * _LETTERS * 6
_BITS, _LEAST_BITS = 40, 960  # of the filter: for each request, if there is room; in all, at least
_MOST_HASHES = 28
_QUOTED_ERRORS = 3
_LONGEST_ID = 512


@dataclass(frozen=True, slots=True)
class BatchFile:
    """Requests of one batch.

    Attributes:
        endpoint: The path that all requests go to.
        bodies: The fields of the requests, by request id.
        content: The file's JSON lines.
    """

    endpoint: str
    bodies: dict[str, dict[str, Any]]
    content: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as its server describes it.

    Attributes:
        id: Its name.
        status: How far it is, as one of the words that servers use.
        metadata: Texts by name; empty where the server keeps none.
        input_file_id: The file of its requests; None if the server does not say.
        output_file_id: The file of its answers; None while there is none.
        error_file_id: The file of its failed rows; None while there is none.
        errors: Code and message of what made the whole batch fail.
        num_answered: Rows that have an answer.
        num_rows: Rows in all; 0 while the server has not counted.
    """

    id: str
    status: str
    metadata: dict[str, str]
    input_file_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    errors: tuple[tuple[str, str], ...]
    num_answered: int
    num_rows: int


def batch_of(fields: Any, key: str) -> Batch:
    """Read a batch from a JSON value of the server.

    Raises:
        UnusableAnswerError: It is no batch.
    """
    name = id_of(fields, key)
    status = fields.get("status")
    if not isinstance(status, str) or not status:
        raise UnusableAnswerError(f"no batch: {shown(fields, key)}")
    counts = fields.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    errors = fields.get("errors")
    given = errors.get("data") if isinstance(errors, dict) else None
    return Batch(
        name,
        quoted(status, key, 40),
        _texts(fields.get("metadata")),
        _id(fields.get("input_file_id")),
        _id(fields.get("output_file_id")),
        _id(fields.get("error_file_id")),
        tuple(
            (shown(error.get("code"), key), shown(error.get("message"), key))
            for error in (given if isinstance(given, list) else [])[:_QUOTED_ERRORS]
            if isinstance(error, dict)
        ),
        whole_number(counts.get("completed")) or 0,
        whole_number(counts.get("total")) or 0,
    )


def id_of(fields: Any, key: str) -> str:
    """Return the id of a file or batch that a server describes by a JSON value.

    Raises:
        UnusableAnswerError: There is none.
    """
    name = _id(fields.get("id")) if isinstance(fields, dict) else None
    if name is None:
        raise UnusableAnswerError(f"no batch or file: {shown(fields, key)}")
    return name


def batches_of(page: Any, model: str, key: str) -> tuple[list[Batch], bool]:
    """Read a page of a server's list: its batches, and whether there are more.

    What is no batch is left out unless it has our mark: others of the account may have written it.

    Raises:
        UnusableAnswerError: It is no page, or a batch of ours cannot be read.
    """
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise UnusableAnswerError(f"no list of batches: {shown(page, key)}")
    batches = []
    for fields in page["data"]:
        try:
            batches.append(batch_of(fields, key))
        except UnusableAnswerError:
            if isinstance(fields, dict) and is_ours(_texts(fields.get("metadata")), model):
                raise
    return batches, bool(page.get("has_more"))


def _id(value: Any) -> str | None:
    usable = isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable()
    return value if usable else None


def _texts(value: Any) -> dict[str, str]:
    given = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in given if isinstance(text, str)}


def batch_files(bodies: Mapping[str, dict[str, Any]]) -> list[BatchFile]:
    """Put requests into files, each with one endpoint and within the server's limits."""
    files: list[BatchFile] = []
    for endpoint in ("/v1/chat/completions", "/v1/completions"):
        chosen: dict[str, dict[str, Any]] = {}
        lines: list[bytes] = []
        size = 0
        for name, body in bodies.items():
            if ("messages" in body) != (endpoint == "/v1/chat/completions"):
                continue
            fields = {"custom_id": name, "method": "POST", "url": endpoint, "body": body}
            line = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
            if lines and (len(lines) == MOST_ROWS or size + len(line) > MOST_BYTES):
                files.append(BatchFile(endpoint, chosen, b"".join(lines)))
                chosen, lines, size = {}, [], 0
            chosen[name] = body
            lines.append(line)
            size += len(line)
        if lines:
            files.append(BatchFile(endpoint, chosen, b"".join(lines)))
    return files


def metadata_of(model: str, names: Collection[str], learnt: str = "") -> dict[str, str]:
    """Return the metadata by which a later process finds a batch of requests with these ids.

    `learnt` is the server's dialect, as `Dialect.to_text` writes it.
    """
    bits = np.zeros(_num_bits(len(names)), bool)
    bits[_positions(names, len(names))] = True
    text = base64.b64encode(np.packbits(bits).tobytes()).decode()
    fields = {
        f"requests_{i:02d}": text[start : start + _LETTERS]
        for i, start in enumerate(range(0, len(text), _LETTERS))
    }
    return {_OURS: learnt, "model": model[:_LETTERS], "count": str(len(names)), **fields}


def is_ours(metadata: Mapping[str, str], model: str) -> bool:
    """Return whether a batch is one of ours, for a model."""
    return _OURS in metadata and metadata.get("model") == model[:_LETTERS]


def learnt_of(metadata: Mapping[str, str]) -> str:
    """Return the server's dialect, as known when a batch of ours was created."""
    return metadata[_OURS]


def may_hold(metadata: Mapping[str, str], model: str, names: Sequence[str]) -> set[str]:
    """Return the requests that a batch with this metadata may hold; none if it is not ours."""
    if not is_ours(metadata, model):
        return set()
    text = "".join(metadata[key] for key in sorted(metadata) if key.startswith("requests_"))
    try:
        count = int(metadata["count"])
        bits = np.unpackbits(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
    except (KeyError, ValueError, binascii.Error):
        return set(names)  # the server has shortened the texts
    if count < 1 or len(bits) != _num_bits(count):
        return set(names)
    held = bits[_positions(names, count)].all(axis=1)
    return set(itertools.compress(names, held))


def _num_bits(count: int) -> int:
    bits = min(_MOST_BITS, max(_LEAST_BITS, _BITS * count))
    return -(-bits // 24) * 24  # whole groups of four letters


def _positions(names: Collection[str], count: int) -> np.ndarray:
    """Return the bits of each name in a filter of `count` names, shape [names, hashes]."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names)
    pairs = np.frombuffer(digests, "<u8").reshape(-1, 2)
    num_bits = _num_bits(count)
    num_hashes = min(_MOST_HASHES, max(1, round(num_bits / count * float(np.log(2)))))
    steps = np.arange(num_hashes, dtype=np.uint64)
    # two hashes make many: Kirsch and Mitzenmacher 2006, "Less hashing, same performance"
    return (pairs[:, :1] + steps * (pairs[:, 1:] | np.uint64(1))) % np.uint64(num_bits)


def read_lines(content: bytes, key: str) -> dict[str, dict[str, Any]]:
    """Return the lines of a file, requests or answers, by request id.

    Raises:
        UnusableAnswerError: The file is of another kind, or cut. Rows that a cut file lacks would
            be sent, and paid, again.
    """
    lines: dict[str, dict[str, Any]] = {}
    for text in content.split(b"\n"):  # not splitlines: answers hold other line ends
        if not text.strip():
            continue
        try:
            line = json_value(text)
            name = line["custom_id"]
        except (UnusableAnswerError, TypeError, KeyError):
            name = None
        if not isinstance(name, str):
            said = text.decode("utf-8", "backslashreplace")
            raise UnusableAnswerError(f"no line of a batch: {quoted(said, key)}")
        lines.setdefault(name, line)
    return lines


def outcome_of(
    request: Request, sampling: Sampling, line: Mapping[str, Any] | None, key: str
) -> Completion | Fault:
    """Return the answer to a request, or the fault, from a line of the output or error file.

    A fault must not quote `key`.
    """
    if line is None:
        return Fault("unusable answer", "again", "the batch has no line for the request")
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict):
        status = response.get("status_code")
        if isinstance(status, int) and status >= 400:
            return refusal(status, response.get("body"), key)
        try:
            return completion_of(request, sampling, response.get("body"), key)
        except UnusableAnswerError as unusable:
            return fault_of(unusable, key)
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
        words = "batch expired" if code == "batch_expired" else "server error"
        return Fault(words, "again", f"{shown(message, key)} ({shown(code, key)})")
    return Fault("unusable answer", "again", "the batch's line has neither response nor error")


def failure_of(batch: Batch) -> Fault:
    """Return why a whole batch failed."""
    texts = [f"{message} ({code})" for code, message in batch.errors]
    detail = "; ".join(texts) or "no reason was given"
    if any(code == "token_limit_exceeded" for code, _ in batch.errors):
        return Fault("batch queue full", "wait", detail)  # of all batches of the account
    return Fault("batch failed", "stop", detail)
