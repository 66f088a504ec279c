"""Answer choices: read them, check the gold answer against them, show them in the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from baldistill.data.text import NotTextError, text_of

_MAX_CHOICES = len(ascii_uppercase)


def read_choices(value: Any) -> list[str] | None:
    """Return a row's choices as a list of texts; None if it has none.

    Raises:
        NotTextError: The value is no list of texts, numbers or booleans.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise NotTextError(f"no list of choices but a {type(value).__name__}")
    texts = [text_of(item) for item in value]
    if any(text is None for text in texts):
        raise NotTextError("a list of choices with a null in it")
    return [text for text in texts if text is not None]


def check_choices(answer: str | None, choices: Sequence[str]) -> str | None:
    """Say what is wrong with a row's choices; None if nothing is.

    The gold answer, if there is one, must be the text of a choice or its letter (`B`, `(b)`, `B)`).
    """
    if len(choices) > _MAX_CHOICES:
        return f"{len(choices)} choices; at most {_MAX_CHOICES} can be lettered"
    if answer is None:
        return None
    wanted = " ".join(answer.casefold().split())
    if any(wanted == " ".join(choice.casefold().split()) for choice in choices):
        return None
    letter = re.fullmatch(r"\(?([a-z])[).:]?", wanted)
    if letter and ascii_uppercase.index(letter[1].upper()) < len(choices):
        return None
    shown = ", ".join(repr(choice) for choice in choices[:6])
    return f"answer {answer[:60]!r} is neither the text nor the letter of a choice ({shown})"


def show_choices(question: str, choices: Sequence[str]) -> str:
    """Return the question with its choices as lines `A) ...`, unless it shows them already."""
    labelled = [rf"^\s*\(?{letter}[).:]\s*\S" for letter in ascii_uppercase[: len(choices)]]
    if all(re.search(pattern, question, re.MULTILINE) for pattern in labelled):
        return question
    lines = [f"{letter}) {text}" for letter, text in zip(ascii_uppercase, choices, strict=False)]
    return "\n".join([question, *lines])
