"""Lines of JSON with a checksum, so that damage on the disk is noticed.

A line is a JSON object whose last key, `crc`, holds the CRC-32 of the line without that key. Any
JSON reader can read it. Lines of older files have no checksum and are taken as they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_KEY = b',"crc":"'
_TAIL = len(_KEY) + len('12345678"}')


def to_line(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of UTF-8, with its checksum and a line end.

    JSON escapes line feeds. A reader must split at line feeds alone: the text may hold other
    characters that Unicode counts as line ends. Lone surrogates become escapes.
    """
    try:
        text = _ENCODE(record).encode()
    except UnicodeEncodeError:
        text = json.dumps(record).encode()
    start = text[:-1]
    return start + _KEY + f'{zlib.crc32(start):08x}"}}\n'.encode()


def from_line(line: bytes) -> dict[str, Any]:
    """Return the record of a line, without its checksum.

    Raises:
        ValueError: The line is damaged: no JSON object, or another checksum.
    """
    if line[-_TAIL:].startswith(_KEY):
        start, given = line[:-_TAIL], line[-10:-2]
        if b"%08x" % zlib.crc32(start) != given:
            raise ValueError("its checksum does not match")
        line = start + b"}"
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    return record
