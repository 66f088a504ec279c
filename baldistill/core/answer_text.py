"""Text as answers see it: folding, SQuAD normalisation, word F1, and where an answer is stated."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

_MARKER = re.compile(
    r"^[ \t>*_#]*(?:the[ \t]+)?(?:final[ \t]+)?answer[ \t*_]*[:\uff1a][ \t*_]*",
    re.IGNORECASE | re.MULTILINE,
)
_STATED = re.compile(
    r"\b(?:answer|choice|option|solution)\b[^.:=\n]{0,60}?"
    r"(?:(?<!not )\b(?:is|be|are|was)\b[ \t]*:?|[:=])[ \t]*(?!not\b)(?P<stated>\S[^\n]*)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
_WORD = re.compile(r"[^\W_]+(?:[.,:/'\u2019-][^\W_]+)*")
_SPELLED_OUT = re.compile(r"[^\W\d_](?:[ -][^\W\d_])+")
_MONTHS = "january february march april may june july august september october november december"
_DATE = re.compile(
    rf"\b({_MONTHS.replace(' ', '|')}) (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})\b", re.IGNORECASE
)
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_QUOTES = "\"'\u201c\u201d\u2018\u2019`*"


def marked_answer(text: str) -> str | None:
    r"""Return what follows the last line that begins with `Answer:`; None without such a line.

    The student's target format is `{rationale}\nAnswer: {answer}`. A caller that must not
    guess uses this function in place of `answers.extract`.
    """
    ends = [marker.end() for marker in _MARKER.finditer(text)]
    return text[ends[-1] :].strip() if ends else None


def stated_answer(text: str) -> str | None:
    """Return X of the last "the answer is X" (or must be, would be, the correct choice is ...).

    X ends with its sentence.
    """
    stated = None
    for sentence in sentences(text):
        match = _STATED.search(sentence)
        if match:
            stated = match["stated"].strip()
    return stated or None


def sentences(text: str) -> list[str]:
    """Split at line ends and after sentence ends; a decimal point ends no sentence."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def first_line(text: str) -> str:
    """Return the first line that is not blank, or an empty string."""
    return next((line.strip() for line in text.split("\n") if line.strip()), "")


def fold(text: str) -> str:
    """Return text folded for comparison: NFKC, no case, single spaces, no outer punctuation.

    Spelled-out letters (`y a j o`, `y-a-j-o`) become one word. Folding twice changes nothing: the
    text is composed again after casefold() and after joining letters.
    """
    text = _composed(_composed(text).casefold())
    text = re.sub(r" ?, ?", ", ", " ".join(text.split()))
    text = text.lstrip(_QUOTES + " ").rstrip(_QUOTES + " .!?;:,")
    return _composed(re.sub(r"[ -]", "", text)) if _SPELLED_OUT.fullmatch(text) else text


def _composed(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def words(text: str) -> list[str]:
    """Return the words without case and articles; 3.5, 04/30/2021 and don't are one word each.

    A date in words becomes the same date in figures: April 30, 2021 becomes 04/30/2021.
    """
    text = _DATE.sub(_date_in_figures, _composed(text))
    return [word for word in _WORD.findall(text.casefold()) if word not in _ARTICLES]


def _date_in_figures(date: re.Match[str]) -> str:
    month = _MONTHS.split().index(date[1].casefold()) + 1
    return f"{month:02d}/{int(date[2]):02d}/{date[3]}"


def squad_normalise(text: str) -> str:
    """Return text without case, punctuation, articles and extra spaces (SQuAD 1.1 evaluation)."""
    text = _composed(text).casefold().translate(_PUNCTUATION)
    return " ".join(word for word in text.split() if word not in _ARTICLES)


def word_f1(prediction: str | None, gold: str) -> float:
    """Return the harmonic mean of word precision and recall after SQuAD normalisation.

    Source: the SQuAD 1.1 evaluation script (Rajpurkar et al. 2016); two answers that are both
    empty after normalisation agree, as in SQuAD 2.0.

    Args:
        prediction: The predicted answer; None scores 0.
        gold: The gold answer.
    """
    if prediction is None:
        return 0.0
    predicted, wanted = squad_normalise(prediction).split(), squad_normalise(gold).split()
    if not predicted or not wanted:
        return float(predicted == wanted)
    common = (Counter(predicted) & Counter(wanted)).total()
    return 2 * common / (len(predicted) + len(wanted))
