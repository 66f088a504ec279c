"""Lettered choices and class labels: which one does a text name?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from baldistill.core.answer_number import numbers_equal, only_number
from baldistill.core.answer_text import fold, sentences, stated_answer, words

_CHOICE_LINE = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*(\S.*)$", re.MULTILINE)
_LEADING_LETTER = re.compile(
    r"^[\s\"'*_]*(?:(?:probably|likely|most likely|therefore|thus|clearly|simply)\b[\s,:]*)*"
    r"(?:(?:option|choice|answer|letter)\b[\s:]*)?"
    r"(?:\(([A-Za-z])(?:\)|\s*$)|([A-Z])(?=[).:,;\]*_\"']|\s*$|\s+(?:because|since|as|for|[-\u2013(])))",
)
_LETTER_IS_THE_ANSWER = re.compile(
    r"\(([A-Z])\)[^.()]{0,60}\bis\b(?! not\b)[^.()]{0,30}\b(?:answer|choice|option|correct)\b"
)
_REJECTS = re.compile(r"\b(?:not|cannot|incorrect|wrong|eliminated?|rules? out)\b|n't\b", re.I)
_INTERJECTION = re.compile(r"(?:^|(?<=\s))(yes|no)(?=\s*[,.;:!)]|\s*$)|^(yes|no)\b", re.IGNORECASE)
_SIGN = re.compile(r"[-+*/^=<>]")
_BRACKETED = re.compile(r"\(([A-Z])\)|(?<![\w'])([A-Z])\)")


def choices_in(question: str) -> dict[str, str]:
    """Return the choices that stand in a question as lines `A) ...`, by letter."""
    return {letter: text.strip() for letter, text in _CHOICE_LINE.findall(question)}


def lettered(choices: Sequence[str]) -> dict[str, str]:
    """Return choice texts by letter: the first is A."""
    return dict(zip(ascii_uppercase, choices, strict=False))


def choice_of_answer(answer: str, choices: dict[str, str]) -> str | None:
    """Return the letter that a short answer names: `(A)`, `A)`, `A.`, `A`, or a choice's text.

    Args:
        answer: The text after `Answer:` or "the answer is".
        choices: Choice texts by letter; if there are none, every letter from A to Z is allowed.
    """
    folded = fold(answer)
    for letter, text in choices.items():
        if len(folded) > 1 and fold(text) == folded:  # "C. elegans" is no letter
            return letter
    match = _LEADING_LETTER.match(answer)
    letter = (match[1] or match[2]).upper() if match else folded.upper()
    if letter in (choices or ascii_uppercase) and len(letter) == 1:
        return letter
    return _only(_letters(answer, choices)) or _only(_named(answer, choices))


def choice_of_text(text: str, choices: dict[str, str]) -> str | None:
    """Return the letter that a rationale without an `Answer:` line concludes with.

    A stated answer ("the answer is B") comes first, else the last sentence that names a choice, by
    letter or by text, and rejects none. None if this sentence names several choices.
    """
    stated = stated_answer(text)
    letter = choice_of_answer(stated, choices) if stated is not None else None
    if letter is not None:
        return letter
    for sentence in reversed(sentences(text)):
        match = _LETTER_IS_THE_ANSWER.search(sentence)
        if match and (not choices or match[1] in choices):
            return match[1]
        names = _letters(sentence, choices) or _named(sentence, choices)
        if names and not _REJECTS.search(sentence):
            return _only(names)
    return None


def label_of_answer(answer: str, labels: Sequence[str]) -> str | None:
    """Return the label that equals a short answer, else the first label in it, else None."""
    for label in labels:
        if fold(label) == fold(answer):
            return label
    named = _named(answer, dict(zip(labels, labels, strict=True)))
    return named[0] if named else None


def label_of_text(text: str, labels: Sequence[str]) -> str | None:
    """Return the label that a text without an `Answer:` line concludes with.

    A stated answer comes first, else the first label of the last sentence that names one. In
    prose, "yes" and "no" count as answers only where they stand alone: "No, ...", "so yes, ...".
    """
    stated = stated_answer(text)
    label = label_of_answer(stated, labels) if stated is not None else None
    if label is not None:
        return label
    yes_no = {fold(label): label for label in labels if fold(label) in ("yes", "no")}
    others = [label for label in labels if label not in yes_no.values()]
    for sentence in reversed(sentences(text)):
        match = _INTERJECTION.search(sentence)
        label = yes_no.get((match[1] or match[2]).casefold()) if match else None
        label = label or label_of_answer(sentence, others)
        if label is not None:
            return label
    return None


def _letters(text: str, choices: dict[str, str]) -> list[str]:
    """Return the different letters given as `(A)` or `A)`."""
    found = dict.fromkeys(one or other for one, other in _BRACKETED.findall(text))
    return [letter for letter in found if not choices or letter in choices]


def _named(text: str, choices: dict[str, str]) -> list[str]:
    """Return the keys of the choices whose text is named, in order of first mention.

    The search takes longer choices first and removes their words, so that "new york" does not also
    name "york". Words do not name choices that differ only in signs, such as (x + 1)2 and
    (x - 1)2. An equal number names a choice that is a number.
    """
    found: dict[str, int] = {}
    line = f" {' '.join(words(text))} "
    spelled = {key: f" {' '.join(words(choice))} " for key, choice in choices.items()}
    signs: dict[str, set[str]] = {}
    for key, choice in choices.items():
        signs.setdefault(spelled[key], set()).add("".join(_SIGN.findall(choice)))
    for key in sorted(choices, key=lambda key: -spelled[key].count(" ")):
        wanted = spelled[key]
        at = line.find(wanted) if wanted.strip() and len(signs[wanted]) == 1 else -1
        if at >= 0:
            found[key] = at
            line = line.replace(wanted, " " + "\0" * (len(wanted) - 2) + " ")
    if not found:
        number = only_number(text)
        if number is not None:
            found = {
                key: 0
                for key, choice in choices.items()
                if numbers_equal(number, only_number(choice))
            }
    return sorted(found, key=lambda key: found[key])


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None
