"""Text of others is shown so that nothing in it acts, and ordinary text is unchanged."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from texts import ANY_TEXT

from baldistill.visible import visible, visible_lines


@given(ANY_TEXT)
def test_what_is_shown_is_one_line_that_acts_on_nothing(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    marks = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    assert not {unicodedata.bidirectional(char) for char in shown} & marks
    shown.encode("utf-8")
    assert visible(shown) == shown


@given(ANY_TEXT)
def test_only_what_acts_is_changed(text: str) -> None:
    kept = "".join(char for char in text if visible(char) == char)
    assert visible(kept) == kept
    for char in set(text) - set(kept):
        assert visible(char).isascii()


@given(ANY_TEXT)
def test_lines_stay_lines(text: str) -> None:
    lines = visible_lines(text).split("\n")
    assert len(lines) == text.count("\n") + 1
    assert all(visible(line) == line for line in lines)


def test_escapes_are_those_of_python() -> None:
    assert visible("a\x1b[0m\n\t\x85\u2028\u202e\ud800 \\ é 日本") == (
        r"a\x1b[0m\n\t\x85\u2028\u202e\ud800 \ é 日本"
    )
    assert visible_lines("a\r\nb\tc") == "a\nb\\tc"
