"""Plain numbers in text: with currency signs, thousands commas, units, fractions, percent."""

from __future__ import annotations

import re
from fractions import Fraction

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>(?<![\w)\]%])(?<!\d\s)[-\u2212](?=[$€£.\d]))?[$€£]?(?P<minus>-)?"
    r"(?:(?P<mixed>\d+)\s+(?=\d+/\d))?"
    r"(?P<top>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:/(?P<bottom>\d+(?:\.\d+)?)(?![\d/]))?"
    r"(?P<exponent>[eE][+-]?\d{1,3}(?!\w))?"
    r"(?!\d|(?:st|nd|rd|th)\b)(?P<percent>\s?%|\s?percent\b)?"
)
# The text that may stand around a plain number: marks, and words of two letters or more. A single
# letter is a variable; another figure or sign makes an expression.
_LETTERS = r"[^\W\d_²³π]{2,}+"
_PLAIN = re.compile(
    rf"(?:[\s.,;:!?'\"\u2019\u201c\u201d()\[\]*`$€£¥₹¢°~≈#/\u2013-]|{_LETTERS}[²³]?(?:['\u2019]\w+)?"
    rf"|\b[aAI](?=\s+{_LETTERS}))*+"
)
_UNIT = re.compile(r"(?:\s*km/h|\s+(?:m/s|[mgshlL])|\s*°\s*[CFK])(?!\w)")
_TWO_LETTERS = re.compile(r"([^\W\d_]{2})(?![^\W\d_])")
_SHORT_UNITS = frozenset(
    (
        *("mm", "cm", "dm", "km", "ft", "in", "yd", "mi"),
        *("mg", "kg", "oz", "lb", "ml", "cl", "dl"),
        *("ms", "hr", "am", "pm", "hz", "kw", "mb", "gb"),
    )
)
_OPERATOR = re.compile(
    r"\b(?:or|and|plus|minus|negative|squared|cubed|(?:square|cube) root|sqrt|pi|sin|cos|tan|log|ln"
    r"|mod|inf|infinity)\b",
    re.IGNORECASE,
)
_LONGEST_NUMBER = 200
_TOLERANCE = Fraction(1, 1_000_000)


def only_number(text: str) -> str | None:
    """Return the canonical form of the one number among plain words in a text, else None."""
    matches = numbers_in(text)
    if len(matches) != 1 or _is_tuple(text) or _OPERATOR.search(text):
        return None
    before, after = text[: matches[0].start()], text[matches[0].end() :]
    attached = _TWO_LETTERS.match(after)
    if attached and attached[1].casefold() not in _SHORT_UNITS:
        return None
    after = _UNIT.sub("", after, count=1) if _UNIT.match(after) else after
    plain = _PLAIN.fullmatch(before) and _PLAIN.fullmatch(after)
    return canonical(matches[0]) if plain else None


def numbers_equal(a: str, b: str | None) -> bool:
    """Return whether two canonical numbers agree within a relative 1e-6; 50% is 50 or 0.5."""
    if b is None:
        return False
    return any(
        abs(x - y) <= _TOLERANCE * max(abs(x), abs(y)) for x in _readings(a) for y in _readings(b)
    )


def numbers_in(text: str) -> list[re.Match[str]]:
    """Find the numbers, without very long runs of digits, which Python refuses to read."""
    return [match for match in _NUMBER.finditer(text) if len(match[0]) <= _LONGEST_NUMBER]


def canonical(match: re.Match[str]) -> str:
    """Write a matched number without commas, currency, units and trailing zeros."""
    value = Fraction(match["top"].replace(",", ""))
    if match["bottom"] and Fraction(match["bottom"]):
        value /= Fraction(match["bottom"])
    value += Fraction(match["mixed"] or 0)
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"][1:])
    if match["sign"] or match["minus"]:
        value = -value
    return _written(value) + ("%" if match["percent"] else "")


def _is_tuple(text: str) -> bool:
    return text[:1] in tuple("([{") and text[-1:] in tuple(")]}") and "," in text


def _written(value: Fraction) -> str:
    """Write a fraction as a decimal where that is exact and short, else as `a/b`."""
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
