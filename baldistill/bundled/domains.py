"""The domains of the embedded corpus, largest first, and the program that checks any question.

The functions raise a ValueError for the name of a domain that the corpus does not have.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from baldistill.bundled import arithmetic, ordering, symbols
from baldistill.bundled.harder import HARDER
from baldistill.bundled.questions import Domain, Example

Level: TypeAlias = Literal[1, 2]
"""Difficulty of the questions."""
BY_NAME: Final[Mapping[str, Domain]] = {
    domain.name: domain
    for domain in (
        arithmetic.ADDITION,
        ordering.WEEKDAYS,
        ordering.LARGEST,
        symbols.FLIPS,
        symbols.REVERSAL,
        arithmetic.SUBTRACTION,
        ordering.MONTHS_LATER,
        symbols.COUNTING,
        arithmetic.PRODUCTS,
        symbols.LAST_LETTERS,
        arithmetic.AGES,
        ordering.SORTING,
    )
}
DOMAINS: Final[tuple[str, ...]] = tuple(BY_NAME)
"""Names of the domains in the order of their size in the corpus, largest first."""


def _domain(name: str) -> Domain:
    if name not in BY_NAME:
        raise ValueError(f"no domain {name!r} in the embedded corpus; it has {', '.join(DOMAINS)}")
    return BY_NAME[name]


def make_example(domain: str, rng: random.Random, level: Level = 1) -> Example:
    """Draw a question of a domain, with its rationale and gold answer; level 2 is harder."""
    return _domain(domain).make_example(rng, HARDER[domain] if level == 2 else None)


def solve(domain: str, question: str) -> Example | None:
    """Work out a question's rationale and gold answer; None if it is not one of the domain."""
    return _domain(domain).read(question)


def check(domain: str, question: str) -> str | None:
    """Compute a question's gold answer from its text; None if it is not one of the domain."""
    example = solve(domain, question)
    return example.answer if example else None
