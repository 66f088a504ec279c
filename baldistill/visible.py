r"""Show text that users, corpora and servers wrote: nothing in it acts on who or what reads it.

A terminal obeys escape sequences, a reader of lines ends a line at a line end, and marks of
direction make text look like other text. All of these become escapes such as `\x1b`. Other
characters stay as they are, so ordinary text in any script is unchanged.
"""

from __future__ import annotations

import re

_ACTS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control codes; among them ESC, line ends, and U+0085
    "\u2028\u2029"  # line and paragraph separator
    "\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of the text around them
    "\ud800-\udfff]"  # halves of surrogate pairs, which no encoding can write
)


def visible(text: str) -> str:
    r"""Return the text as one line; a character that would act becomes an escape: `\n`, `\x1b`."""
    return _ACTS.sub(lambda found: ascii(found[0])[1:-1], text)


def visible_lines(text: str) -> str:
    """Return a text of several lines, which stay lines, each of them as `visible` shows it."""
    return "\n".join(visible(line) for line in text.replace("\r\n", "\n").split("\n"))
