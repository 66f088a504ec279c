r"""Mathematical answers: finding them in text, and equality of numbers and of LaTeX.

Plain numbers (with currency signs, thousands commas, units, fractions, percent) are compared
here, exactly. LaTeX goes to the kept library math-verify, which the extra `baldistill[math]`
installs; it is imported only when an answer really holds LaTeX.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from functools import lru_cache

from baldistill.core.answer_text import first_line, fold, stated_answer

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>(?<![\w)\]%])(?<!\d\s)[-\u2212](?=[$€£.\d]))?[$€£]?(?P<minus>-)?"
    r"(?:(?P<mixed>\d+)\s+(?=\d+/\d))?"
    r"(?P<top>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:/(?P<bottom>\d+(?:\.\d+)?)(?![\d/]))?"
    r"(?P<exponent>[eE][+-]?\d{1,3}(?!\w))?"
    r"(?!(?:st|nd|rd|th)\b)(?P<percent>\s?%|\s?percent\b)?"
)
_LATEX = re.compile(r"\\|\^")
_ALGEBRA = re.compile(
    r"\b[a-zA-Z]\s*[-+*/]\s*[\d(]|[\d)]\s*[-+*]\s*[a-zA-Z]\b|(?<![\w.])\d+[xyzn]\b"
)
_LIST = re.compile(r"[(\[{]?\s*[^\s,]+(?:\s*,\s+[^\s,]+)+\s*[)\]}]?|[(\[{].*,.*[)\]}]|\d+:\d\d")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_EQUALS = re.compile(r"=|\b(?:equals?|is equal to)\b", re.IGNORECASE)
_GSM8K_MARKER = re.compile(r"####\s*(.+)")
_NAMED_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
# A tower of powers or a huge factorial would never come back from a computer algebra system.
_ENDLESS = re.compile(r"\^\s*\{?[^{}^]*\^|\^\s*\{?\s*\d{4,}|\d{3,}\}?\)?\s*!")
_LONGEST_LATEX = 300
_LONGEST_NUMBER = 200
_TOLERANCE = Fraction(1, 1_000_000)


def math_of_answer(answer: str) -> str | None:
    """Returns the number or the expression that a short answer gives, in canonical form.

    Args:
        answer: What stands after `Answer:` or "the answer is".

    Returns:
        A number without commas, currency, units and trailing zeros ("1234.5", "1/3", "50%");
        an expression or list as it stands; other text folded; None for nothing.
    """
    line = boxed(answer) or first_line(answer).rstrip(" .")
    line = line.strip("*` ")
    if line.startswith("$") and line.endswith("$") and len(line) > 2:
        line = line.strip("$").strip()
    line = next((part for part in reversed(_EQUALS.split(line)) if part.strip()), "").strip()
    if not line:
        return None
    if _LATEX.search(line) or _LIST.fullmatch(line):
        plain = _without_latex_decoration(line)
        return plain if _LATEX.search(plain) or _LIST.fullmatch(plain) else math_of_answer(plain)
    numbers = _numbers(line)
    if numbers and not _ALGEBRA.search(line):
        return _canonical(numbers[0])
    folded = fold(line)
    return str(_NAMED_NUMBERS.index(folded)) if folded in _NAMED_NUMBERS else folded or None


def math_of_text(text: str) -> str | None:
    r"""Returns what a derivation without an `Answer:` line comes to.

    The last `\boxed{}`, `#### n`, what it says the answer is, else its last number.
    """
    marks = _GSM8K_MARKER.findall(text)
    for found in (boxed(text), marks[-1] if marks else None):
        if found is not None:
            return math_of_answer(found)
    stated = stated_answer(text)
    if stated is not None and (_numbers(stated) or _LATEX.search(stated)):
        return math_of_answer(stated)
    matches = _numbers(text)
    return _canonical(matches[-1]) if matches else None


def math_equal(a: str, b: str) -> bool:
    """Returns whether two answers are the same number or expression.

    Numbers agree within a relative 1e-6; a percentage agrees with its number and its fraction
    (50% is 50 and 0.5). Where either holds LaTeX and the texts differ, math-verify decides, save
    for very long expressions and towers of powers, which differ.

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
    return _latex_equal(one, other)


def only_number(text: str) -> str | None:
    """Returns the canonical form of the one number in a text; None for none or several."""
    matches = _numbers(text)
    if len(matches) != 1 or _LATEX.search(text) or _ALGEBRA.search(text):
        return None
    return _canonical(matches[0])


def numbers_equal(a: str, b: str | None) -> bool:
    """Returns whether two canonical numbers agree within a relative 1e-6, in any reading."""
    if b is None:
        return False
    return any(
        abs(x - y) <= _TOLERANCE * max(abs(x), abs(y)) for x in _readings(a) for y in _readings(b)
    )


def boxed(text: str) -> str | None:
    r"""Returns the content of the last `\boxed{...}`, braces balanced; None without one."""
    starts = [match.end() for match in _BOXED.finditer(text)]
    if not starts:
        return None
    depth = 1
    for at in range(starts[-1], len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[starts[-1] : at].strip()
    return None


def _numbers(text: str) -> list[re.Match[str]]:
    """Finds the numbers, save for endless runs of digits: Python refuses to read those."""
    return [match for match in _NUMBER.finditer(text) if len(match[0]) <= _LONGEST_NUMBER]


def _canonical(match: re.Match[str]) -> str:
    value = Fraction(match["top"].replace(",", ""))
    if match["bottom"] and Fraction(match["bottom"]):
        value /= Fraction(match["bottom"])
    value += Fraction(match["mixed"] or 0)
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"][1:])
    if match["sign"] or match["minus"]:
        value = -value
    return _written(value) + ("%" if match["percent"] else "")


def _written(value: Fraction) -> str:
    """Writes a fraction as a decimal where that is exact and short, else as `a/b`."""
    for digits in range(13):
        scaled = value * 10**digits
        if scaled.denominator == 1:
            sign, whole = (
                "-" if scaled < 0 else "",
                str(abs(scaled.numerator)).rjust(digits + 1, "0"),
            )
            return sign + (f"{whole[:-digits]}.{whole[-digits:]}" if digits else whole)
    return f"{value.numerator}/{value.denominator}"


def _readings(number: str) -> tuple[Fraction, ...]:
    value = Fraction(number.rstrip("%"))
    return (value, value / 100) if number.endswith("%") else (value,)


def _without_latex_decoration(text: str) -> str:
    r"""Drops what changes no value: `\$`, `\%` to %, spaces, degrees, `\text{...}` units."""
    text = (
        re.sub(r"\\(?:[,;:! ]|q?quad|left|right)", "", text).replace("\\$", "").replace("\\%", "%")
    )
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?", "", text)
    text = re.sub(r"(?<=[\d}])\s*\\(?:text|mathrm|mbox)\s*\{[^}]*\}", "", text)
    return re.sub(r"^\\[(\[]|\\[)\]]$", "", text).strip()


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@lru_cache(maxsize=4096)
def _latex_equal(a: str, b: str) -> bool:
    try:
        import math_verify
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"comparing the LaTeX answers {a!r} and {b!r} needs math-verify:"
            " pip install 'baldistill[math]'",
            name="math_verify",
        ) from error
    # Its time limits use signals, which work in the main thread only; it warns once without.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    one, other = (math_verify.parse(f"${text}$", parsing_timeout=None) for text in (a, b))
    return bool(math_verify.verify(one, other, timeout_seconds=None))
