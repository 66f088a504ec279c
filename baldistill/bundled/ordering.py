"""Domains about order: the calendar, the largest number, the alphabet."""

from __future__ import annotations

import random
from collections.abc import Sequence

from baldistill.bundled.lexicon import DAYS, ITEMS, LETTERS, MONTHS, NAMES
from baldistill.bundled.questions import Domain, Slots, Solution


def count_on(cycle: Sequence[str], start: str, steps: int) -> str:
    """Count through days or months: `0 May 1 June 2 July`."""
    first = cycle.index(start)
    return " ".join(f"{i} {cycle[(first + i) % len(cycle)]}" for i in range(steps + 1))


def _draw_weekdays(rng: random.Random) -> Slots:
    day, number, name = rng.choice(DAYS), rng.randint(2, 34), rng.choice(NAMES)
    return {"day": day, "number": str(number), "name": name}


def _solve_weekdays(slots: Slots) -> Solution | None:
    days = int(slots["number"])
    weeks, rest = days // 7 * 7, days % 7
    steps = f"{days}-{weeks}={rest}: {count_on(DAYS, slots['day'], rest)}."
    return Solution(steps, DAYS[(DAYS.index(slots["day"]) + rest) % 7])


WEEKDAYS = Domain(
    "weekdays",
    (
        "Today is {day}. {name} has a test in {number} days. Which day is that?",
        "{name} leaves on {day} and comes back {number} days later. Which day is that?",
        "On {day} {name} sent a card. It took {number} days. On which day did it arrive?",
    ),
    _draw_weekdays,
    _solve_weekdays,
)


def _draw_months(rng: random.Random) -> Slots:
    month, number, name = rng.choice(MONTHS), rng.randint(2, 9), rng.choice(NAMES)
    return {"month": month, "number": str(number), "name": name}


def _solve_months(slots: Slots) -> Solution | None:
    months = int(slots["number"])
    if months > 24:
        return None
    end = MONTHS[(MONTHS.index(slots["month"]) + months) % 12]
    return Solution(f"{months} months: {count_on(MONTHS, slots['month'], months)}.", end)


MONTHS_LATER = Domain(
    "months",
    (
        "It is {month}. {name} has a test in {number} months. Which month is that?",
        "{name} leaves in {month} and comes back {number} months later. Which month is that?",
        "In {month} {name} sent a card. It took {number} months. In which month did it arrive?",
    ),
    _draw_months,
    _solve_months,
)


def _draw_largest(rng: random.Random) -> Slots:
    numbers = rng.sample(range(10, 100), rng.choice((3, 4)))
    return {
        "numbers": ", ".join(map(str, numbers)),
        "name": rng.choice(NAMES),
        "item": rng.choice(ITEMS),
    }


def _solve_largest(slots: Slots) -> Solution | None:
    numbers = [int(number) for number in slots["numbers"].split(", ")]
    best, steps = numbers[0], []
    for number in numbers[1:]:
        sign = "<" if best < number else ">" if best > number else "="
        steps.append(f"{best}{sign}{number}")
        best = max(best, number)
    return Solution(f"{', '.join(steps)}.", str(best))


LARGEST = Domain(
    "largest",
    (
        "Which number is the largest: {numbers}?",
        "{name} counted {item}: {numbers}. Which number is the largest?",
        "The prices of {item} are {numbers}. What is the highest price?",
    ),
    _draw_largest,
    _solve_largest,
)


def _draw_sorting(rng: random.Random) -> Slots:
    return {"letters": " ".join(rng.sample(LETTERS, 3)), "name": rng.choice(NAMES)}


def _solve_sorting(slots: Slots) -> Solution | None:
    rest, steps = slots["letters"].split(" "), []
    while len(rest) > 1:
        first = min(rest)
        steps.append(f"of {' '.join(rest)} first {first}")
        rest.remove(first)
    steps.append(f"last {rest[0]}.")
    return Solution(", ".join(steps).capitalize(), " ".join(sorted(slots["letters"].split(" "))))


SORTING = Domain(
    "sorting",
    (
        "Sort the letters {letters} by the alphabet.",
        "{name} puts the letters {letters} in order. What does the row look like?",
        "Which order do the letters {letters} have in the alphabet?",
    ),
    _draw_sorting,
    _solve_sorting,
)
