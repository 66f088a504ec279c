"""A file that is one JSON array of objects, read as if each object stood on a line of its own.

Its elements are found by Python's JSON decoder, which reads from a place and says where it ended.
Memory is bounded by a block and the largest element.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from baldistill.data.lines import BLOCK_BYTES, MAX_LINE_BYTES
from baldistill.errors import DataError

_SPACE = re.compile(r"[ \t\r\n]*")
_OF_A_NUMBER = re.compile(r"[-+.eE0-9]*")
_LINE_ENDS = str.maketrans("\r\n", "  ")  # outside strings, where JSON allows them, they are space


def array_as_lines(stream: IO[bytes], block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the elements of an array as lines, in blocks of about `block_bytes`.

    Raises:
        DataError: The array is malformed, with the number of the element; what stands behind it
            cannot be told apart.
    """
    lines: list[str] = []
    size = 0
    for element in _elements(_Reader(stream, block_bytes)):
        lines.append(element.translate(_LINE_ENDS))
        size += len(element)
        if size >= block_bytes:
            yield _encoded(lines)
            lines, size = [], 0
    if lines:
        yield _encoded(lines)


def elements_of(head: bytes) -> Iterator[object]:
    """Yield the elements that are whole in the beginning of an array."""
    with suppress(DataError):  # the end of the beginning
        for element in _elements(_Reader(io.BytesIO(head), len(head) + 1)):
            yield json.loads(element)


def _elements(reader: _Reader) -> Iterator[str]:
    reader.expect("[", "no JSON array")
    number = 1
    while (mark := reader.peek()) != "]":
        if number > 1:
            reader.expect(",", f"no comma or `]` behind element {number - 1} of its JSON array")
        elif mark == "":
            break
        yield reader.element(number)
        number += 1
    reader.expect("]", "its JSON array does not end: is the file cut off?")


def _encoded(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


class _Reader:
    """The text of a stream from a place on; what stood before the place is forgotten."""

    def __init__(self, stream: IO[bytes], block_bytes: int) -> None:
        self._stream, self._block_bytes = stream, block_bytes
        # bytes that are no UTF-8 go through, and make a row of the quarantine later
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._json = json.JSONDecoder()
        self._text, self._place, self._ended = "", 0, False
        while not self._text and self._more():
            pass
        self._text = self._text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")

    def _more(self) -> bool:
        """Read on; return whether there was anything to read."""
        data = self._stream.read(self._block_bytes)
        self._ended = not data
        self._text = self._text[self._place :] + self._decoder.decode(data, final=self._ended)
        self._place = 0
        return not self._ended

    def peek(self) -> str:
        """Return the next character that is no space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._place)
            assert found is not None
            self._place = found.end()
            if self._place < len(self._text) or self._ended or not self._more():
                return self._text[self._place : self._place + 1]

    def expect(self, mark: str, problem: str) -> None:
        """Go past a character."""
        if self.peek() != mark:
            raise DataError(problem)
        self._place += 1

    def element(self, number: int) -> str:
        """Return the text of the element here, and go past it."""
        while True:
            self.peek()
            try:
                _, end = self._json.raw_decode(self._text, self._place)
            except RecursionError:
                raise DataError(f"element {number} of its JSON array is nested too deep") from None
            except ValueError as error:
                left = len(self._text) - self._place
                if left > MAX_LINE_BYTES or self._ended or not self._more():
                    raise DataError(
                        f"element {number} of its JSON array is malformed: {error}"
                    ) from None
                continue
            if _OF_A_NUMBER.fullmatch(self._text, end) and not self._ended and self._more():
                continue  # the rest of a number may be in the next block
            element, self._place = self._text[self._place : end], end
            return element
