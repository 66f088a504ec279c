"""Write, read and answer the questions of a domain of the embedded corpus.

A domain owns templates such as `"What is {a} plus {b}?"`. The same template writes a question
from slots and reads the slots back from a question's text. So whatever can be generated can also
be checked: a question that a teacher writes in this form gets its gold answer from its text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from baldistill.bundled.lexicon import COLOURS, DAYS, MONTHS

Slots = dict[str, str]
"""The words and numbers that fill a template."""


def _sequence(element: str, fewest: int, most: int, separator: str = " ") -> str:
    return f"{element}(?:{separator}{element}){{{fewest - 1},{most - 1}}}"


_NAME: Final = "[A-Z][a-z]{1,11}"
_SLOT_PATTERNS: Final[Mapping[str, str]] = {
    "name": _NAME,
    "item": "[a-z]{2,12}",
    "number": "(?:0|[1-9][0-9]{0,2})",
    "day": "|".join(DAYS),
    "month": "|".join(MONTHS),
    "colour": "|".join(COLOURS),
    "side": "heads|tails",
    "power": "on|off",
    "letters": _sequence("[a-z]", 2, 8),
    "numbers": _sequence("[0-9]{1,3}", 2, 8, ", "),
    "names": _sequence(_NAME, 2, 6, ", "),
    "picks": _sequence(f"{_NAME} (?:{'|'.join(COLOURS)})", 2, 9, ", "),
    "flips": _sequence(f"{_NAME} (?:flips it|does not flip it)\\.", 1, 8),
    "presses": _sequence(f"{_NAME} (?:presses the switch|does nothing)\\.", 1, 8),
}
_SLOT: Final = re.compile(r"\{([a-z]+?)(_[a-z]+)?\}")


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its gold answer and a short rationale that leads to it."""

    domain: str
    question: str
    answer: str
    rationale: str


@dataclass(frozen=True, slots=True)
class Solution:
    """The rationale and the answer that a domain's program computes from a question's slots."""

    rationale: str
    answer: str


def template_pattern(template: str) -> re.Pattern[str]:
    """Compile a template into the pattern that reads it.

    A slot is `{kind}` or `{kind_suffix}`. A slot that stands twice must be filled alike.
    """
    pattern, seen, end = "", set[str](), 0
    for match in _SLOT.finditer(template):
        slot = match.group(0)[1:-1]
        pattern += re.escape(template[end : match.start()])
        pattern += f"(?P={slot})" if slot in seen else f"(?P<{slot}>{_SLOT_PATTERNS[match[1]]})"
        seen.add(slot)
        end = match.end()
    return re.compile(pattern + re.escape(template[end:]))


@dataclass(frozen=True, slots=True)
class Domain:
    """A family of questions: how to draw, word and solve one."""

    name: str
    templates: tuple[str, ...]
    draw: Callable[[random.Random], Slots]
    """Draws a value for every slot of every template."""
    solve: Callable[[Slots], Solution | None]
    """Answers a question with these slots; None where they make no sense."""
    patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compile the patterns."""
        patterns = tuple(template_pattern(template) for template in self.templates)
        object.__setattr__(self, "patterns", patterns)

    def make_example(
        self, rng: random.Random, draw: Callable[[random.Random], Slots] | None = None
    ) -> Example:
        """Draw a question, its rationale and its gold answer; by `self.draw` without another."""
        question = rng.choice(self.templates).format(**(draw or self.draw)(rng))
        example = self.read(question)
        assert example is not None, question
        return example

    def read(self, question: str) -> Example | None:
        """Solve a question from its text alone; None if it is not one of this domain."""
        for pattern in self.patterns:
            if (match := pattern.fullmatch(question)) and (
                solution := self.solve(match.groupdict())
            ):
                return Example(self.name, question, solution.answer, solution.rationale)
        return None
