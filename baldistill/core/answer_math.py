r"""Mathematical answers: finding them in text, and equality of numbers and expressions.

Plain numbers are compared as fractions. The library math-verify (extra `baldistill[math]`) compares
LaTeX; it is imported only when an answer really holds LaTeX. Other expressions, lists, ratios and
inequalities are equal if their texts are equal without spaces.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from baldistill.core.answer_number import canonical, numbers_equal, numbers_in, only_number
from baldistill.core.answer_text import first_line, fold, stated_answer

_LATEX = re.compile(r"\\|\^")
_PI = re.compile(r"\\pi\b|(?<![^\W\d_])(?i:pi)\b")
_UNIT_POWER = re.compile(
    r"(\d(?:\s*(?:[mcdk]m|ft|in|yd|mi|units?|feet|inches|met(?:er|re)s?)|\s+m))\s*\^\s*\{?[23]\}?$"
)
_TEXT_UNIT = re.compile(
    r"(?<=[\d}])\s*\\(?:text|mathrm|mbox)\s*\{(?!\s*(?:and|or)\b)[^}]*\}"
    r"(?:\s*\^\s*(?:\{[^{}]*\}|\d))?"
)
_LEADING_SIGN = re.compile(r"^(?:\+\s*|([-\u2212])\s+)(?=[$€£.\d])")
_VARIABLE = re.compile(r"(?<!\w)[a-zA-Z]\s*$")
_SEPARATOR = re.compile(r"[,;]|\b(?:or|and)\b")
_PROSE = re.compile(r"[^\W\d_]{3}")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_EQUALS = re.compile(r"(?<![<>!\u2264\u2265])=|\b(?:equals?|is equal to)\b", re.IGNORECASE)
_GSM8K_MARKER = re.compile(r"####\s*(.+)")
_NAMED_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
# A computer algebra system would never finish a tower of powers or a huge factorial.
_ENDLESS = re.compile(r"\^\s*\{?[^{}^]*\^|\^\s*\{?\s*\d{4,}|\d{3,}\}?\)?\s*!")
_LONGEST_LATEX = 300


def math_of_answer(answer: str) -> str | None:
    """Return the number or the expression that a short answer gives, in canonical form.

    Args:
        answer: The text after `Answer:` or "the answer is".

    Returns:
        The only number among plain words, without commas, currency, units and trailing zeros
        ("1234.5", "1/3", "50%"); LaTeX as LaTeX; other expressions, lists and text folded; None
        for an empty answer.
    """
    line = _conclusion(boxed(answer) or first_line(answer).rstrip(" ."))
    if not line or _LATEX.search(line):
        return line or None
    number = only_number(line)
    if number is not None:
        return number
    folded = fold(line)
    return str(_NAMED_NUMBERS.index(folded)) if folded in _NAMED_NUMBERS else folded or None


def math_of_text(text: str) -> str | None:
    r"""Return the result of a derivation without an `Answer:` line.

    Take the last `\boxed{}`, else the last `#### n`, else the stated answer, else the last number.
    """
    marks = _GSM8K_MARKER.findall(text)
    for found in (boxed(text), marks[-1] if marks else None):
        if found is not None:
            return math_of_answer(found)
    stated = stated_answer(text)
    if stated is not None and (numbers_in(stated) or _LATEX.search(stated)):
        line = _conclusion(stated)
        numbers = numbers_in(line)
        # a sentence gives its first number, an expression is taken whole
        prose = numbers and _PROSE.search(line) and not _LATEX.search(line)
        return canonical(numbers[0]) if prose else math_of_answer(stated)
    matches = numbers_in(text)
    return canonical(matches[-1]) if matches else None


def latex_equal(a: str, b: str) -> bool:
    """Let math-verify decide whether two expressions are equal; that may take forever.

    Raises:
        ModuleNotFoundError: math-verify is not installed.
    """
    try:
        import math_verify
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"comparing the LaTeX answers {a!r} and {b!r} needs math-verify:"
            " pip install 'baldistill[math]'",
            name="math_verify",
        ) from error
    # math-verify's time limits need signals, which only the main thread gets: we set no limits.
    # math-verify warns of that, and the next line hides the warning.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    one, other = (
        math_verify.parse("$" + text.replace("π", r"\pi ") + "$", parsing_timeout=None)
        for text in (a, b)
    )
    return bool(math_verify.verify(one, other, timeout_seconds=None))


def math_equal(a: str, b: str, latex_equal: Callable[[str, str], bool] = latex_equal) -> bool:
    """Return whether two answers are the same number or expression.

    Numbers agree within a relative 1e-6; a percentage agrees with its number and its fraction
    (50% is 50 and 0.5). If either holds LaTeX and the texts differ, `latex_equal` decides; but
    very long expressions and towers of powers are then never equal.

    Raises:
        ModuleNotFoundError: An answer holds LaTeX and math-verify is not installed.
    """
    one, other = math_of_answer(a), math_of_answer(b)
    if one is None or other is None:
        return False
    if _squeezed(one) == _squeezed(other):
        return True
    first, second = only_number(one), only_number(other)
    if first is not None and second is not None:
        return numbers_equal(first, second)
    if not (_LATEX.search(one) or _LATEX.search(other)):
        return False
    if any(_ENDLESS.search(text) or len(text) > _LONGEST_LATEX for text in (one, other)):
        return False
    return latex_equal(one, other)


def boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{...}`, braces balanced; None without one."""
    starts = [match.end() for match in _BOXED.finditer(text)]
    if not starts:
        return None
    depth = 1
    for at in range(starts[-1], len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[starts[-1] : at].strip()
    return None


def _conclusion(line: str) -> str:
    """Return what follows a line's last equals sign, without marks that change no value."""
    line = line.strip("*` ")
    if line.startswith("$") and line.endswith("$") and len(line) > 2:
        line = line.strip("$").strip()
    if not _assigns_several(line):
        line = next((part for part in reversed(_EQUALS.split(line)) if part.strip()), "")
    line = _PI.sub("π", line.strip().replace("{,}", ","))
    if _LATEX.search(line):
        line = _without_latex_decoration(line)
    return _LEADING_SIGN.sub(lambda sign: sign[1] or "", line)


def _assigns_several(line: str) -> bool:
    """Return whether a line has several right-hand sides: `x = 2, y = 3`, `x = 2 or x = 3`."""
    first, *rest = line.split("=")
    return bool(_VARIABLE.search(first)) and any(
        _VARIABLE.search(part) and _SEPARATOR.search(part) for part in rest[:-1]
    )


def _without_latex_decoration(text: str) -> str:
    r"""Drop marks without a value: `\$`, `\%` to %, spaces, degrees, units and their powers."""
    text = re.sub(r"\\(?:[,;:! ]|q?quad|left|right)", "", text)
    text = text.replace("\\$", "").replace("\\%", "%")
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?", "", text)
    text = _UNIT_POWER.sub(r"\1", _TEXT_UNIT.sub("", text))
    return re.sub(r"^\\[(\[]|\\[)\]]$", "", text).strip()


def _squeezed(text: str) -> str:
    """Drop all spaces except those between two numbers."""
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(text.split()))
