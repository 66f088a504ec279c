"""Harder questions of the same domains: longer sums, more steps, words that are rarer.

Each has the form of the easier ones, so that the same programs read and solve it. Most are at the
hard end of what the bundled teacher has learnt. About a fifth of each domain are one step beyond,
or hold a name that it has never seen: there it errs, even where it is shown the answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from baldistill.bundled.arithmetic import ages_slots
from baldistill.bundled.lexicon import (
    COLOURS,
    DAYS,
    ITEMS,
    LETTERS,
    MONTHS,
    NAMES,
    RARE_ITEMS,
    RARE_NAMES,
)
from baldistill.bundled.questions import Slots
from baldistill.bundled.symbols import flip_slots

_RARE: Final = 0.5
"""Share of rare words where a word is mere decoration."""
_RARE_ACTOR: Final = 0.06
"""Share of rare names where the answer depends on names."""
_BEYOND: Final = 0.2
"""Share of questions with a step more than the teacher has learnt."""


def _name(rng: random.Random, rare: float = _RARE) -> str:
    return rng.choice(RARE_NAMES if rng.random() < rare else NAMES)


def _item(rng: random.Random) -> str:
    return rng.choice(RARE_ITEMS if rng.random() < _RARE else ITEMS)


def _names(rng: random.Random, count: int) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        if (name := _name(rng, _RARE_ACTOR)) not in names:
            names.append(name)
    return names


def _or_more(rng: random.Random, count: int) -> int:
    """Return a number of steps, seldom one more."""
    return count + (rng.random() < _BEYOND)


def _words(rng: random.Random, a: int, b: int) -> Slots:
    return {"number_a": str(a), "number_b": str(b), "name": _name(rng), "item": _item(rng)}


def _addition(rng: random.Random) -> Slots:
    ones = rng.randint(3, 9)
    a = 10 * rng.randint(4, 9) + ones
    b = 10 * rng.randint(4, 9) + rng.randint(10 - ones, 9)  # there is something to carry
    return _words(rng, a, b) | {"day": rng.choice(DAYS)}


def _subtraction(rng: random.Random) -> Slots:
    ones, tens = rng.randint(0, 8), rng.randint(4, 9)
    b = 10 * rng.randint(1, tens - 1) + rng.randint(ones + 1, 9)  # there is something to borrow
    return _words(rng, 10 * tens + ones, b)


def _products(rng: random.Random) -> Slots:
    return _words(rng, rng.randint(26, 56), rng.randint(4, 6))


def _ages(rng: random.Random) -> Slots:
    return ages_slots(_names(rng, 3), [rng.randint(low, 9) for low in (4, 5, 4)])


def _weekdays(rng: random.Random) -> Slots:
    return {"day": rng.choice(DAYS), "number": str(rng.randint(18, 38)), "name": _name(rng)}


def _months(rng: random.Random) -> Slots:
    return {"month": rng.choice(MONTHS), "number": str(rng.randint(6, 10)), "name": _name(rng)}


def _largest(rng: random.Random) -> Slots:
    lowest = rng.randint(10, 70)
    numbers = rng.sample(range(lowest, lowest + 30), _or_more(rng, 4))
    return {"numbers": ", ".join(map(str, numbers)), "name": _name(rng), "item": _item(rng)}


def _sorting(rng: random.Random) -> Slots:
    first = rng.randint(0, len(LETTERS) - 8)
    letters = rng.sample(LETTERS[first : first + 8], _or_more(rng, 3))
    return {"letters": " ".join(letters), "name": _name(rng)}


def _flips(rng: random.Random) -> Slots:
    return flip_slots(rng, _names(rng, _or_more(rng, 4)))


def _reversal(rng: random.Random) -> Slots:
    return {"letters": " ".join(rng.sample(LETTERS, _or_more(rng, 5))), "name": _name(rng)}


def _counting(rng: random.Random) -> Slots:
    names = _names(rng, _or_more(rng, 5))
    colours = [rng.choice(COLOURS) for _ in names]
    return {
        "picks": ", ".join(f"{n} {colour}" for n, colour in zip(names, colours, strict=True)),
        "colour": rng.choice((rng.choice(colours), rng.choice(COLOURS))),
    }


def _last_letters(rng: random.Random) -> Slots:
    return {"names": ", ".join(_names(rng, 4))}


HARDER: Final[Mapping[str, Callable[[random.Random], Slots]]] = {
    "addition": _addition,
    "weekdays": _weekdays,
    "largest": _largest,
    "flips": _flips,
    "reversal": _reversal,
    "subtraction": _subtraction,
    "months": _months,
    "counting": _counting,
    "products": _products,
    "last_letters": _last_letters,
    "ages": _ages,
    "sorting": _sorting,
}
"""Draws the slots of a harder question, by domain."""
