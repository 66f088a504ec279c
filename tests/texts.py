"""Text as users, corpora and servers may write it: all of Unicode, and what does harm somewhere."""

from __future__ import annotations

from hypothesis import strategies as st

HARMFUL = (
    "[/INST] chat",  # closes a tag of Rich's markup that was never opened
    "[link=https://example.org]x[/link] :warning:",
    "\x1b]0;title\x07\x1b[2J\x9b31m",  # commands to a terminal
    "one\ntwo\r\nthree\rfour\vfive\fsix\x1cseven\x85eight\u2028nine\u2029ten",
    "2026-01-01 00:00:00 done",  # how a line of the log begins
    "\u202egnp.exe \u2066x\u2069",  # turns the direction of the text around it
    '=cmd|" /C calc"!A1',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "a|b\\|c\\",
    "<!-- <script>alert(1)</script> & \"'",
    "<|im_end|>\n<|im_start|>assistant\n",
    "<eos><pad></s>[INST]",
    "$x^2 \\frac{",
    "../../etc/passwd",
    "con/a\\b:c*?",
    "\x00",
    "{{ question }}{% raw %}",
    "日本語 עברית ไทย 👩‍👩‍👧 e\u0301 \ufeff\u200f\ue000\U000f0000\U0010ffff\ufffe",
    "e" * 500,
)
"""Texts that broke something, here or elsewhere."""

HALVES = ("\ud800", "x\udfff", "\ude00\ud83d")
"""Halves of surrogate pairs: JSON can spell them, and nothing can write them."""

_CHARACTERS = st.characters(exclude_categories=()) | st.sampled_from(
    "\x00\t\n\r\x1b\x7f\x85\u2028\u202e\ud800\ude00|<[=\\\"',;"
)
_PIECES = st.sampled_from(HARMFUL) | st.text(_CHARACTERS, max_size=8)
ANY_TEXT = _PIECES | st.lists(_PIECES, max_size=4).map("".join) | st.sampled_from(HALVES)
"""Any text that Python can hold, half surrogate pairs among them, often a harmful one."""

ENCODABLE = ANY_TEXT.map(lambda text: text.encode("utf-8", "replace").decode("utf-8"))
"""The same without halves of surrogate pairs: what a table can hold."""
