"""Domains about sums: addition, subtraction, products and chains of ages."""

from __future__ import annotations

import random
from collections.abc import Sequence

from baldistill.bundled.lexicon import DAYS, ITEMS, NAMES
from baldistill.bundled.questions import Domain, Slots, Solution


def _draw_words(rng: random.Random, a: int, b: int) -> Slots:
    """Draw the words that go with two numbers."""
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    return {"number_a": str(a), "number_b": str(b), "name": name, "item": item}


def _draw_addition(rng: random.Random) -> Slots:
    slots = _draw_words(rng, rng.randint(10, 99), rng.randint(10, 99))
    return slots | {"day": rng.choice(DAYS)}


def add_in_columns(a: int, b: int) -> str:
    """Write out a sum column by column, as at school."""
    ones, carry = a % 10 + b % 10, (a % 10 + b % 10) // 10
    tens = a // 10 + b // 10 + carry
    carried = "+1" if carry else ""
    return f"{a}+{b}: ones {a % 10}+{b % 10}={ones}, tens {a // 10}+{b // 10}{carried}={tens}."


def _solve_addition(slots: Slots) -> Solution | None:
    a, b = int(slots["number_a"]), int(slots["number_b"])
    return Solution(add_in_columns(a, b), str(a + b))


ADDITION = Domain(
    "addition",
    (
        "What is {number_a} plus {number_b}?",
        "{name} has {number_a} {item} and buys {number_b} more. How many {item} are there now?",
        "There are {number_a} {item} in a box and {number_b} in a bag. How many {item} is that?",
        "On {day} {name} sold {number_a} {item}, then {number_b} more. How many were sold?",
    ),
    _draw_addition,
    _solve_addition,
)


def _draw_subtraction(rng: random.Random) -> Slots:
    a, b = sorted(rng.sample(range(10, 100), 2), reverse=True)
    return _draw_words(rng, a, b)


def subtract_in_columns(a: int, b: int) -> str:
    """Write out a difference column by column, borrowing a ten where needed."""
    borrow = a % 10 < b % 10
    ones, tens = a % 10 + 10 * borrow, a // 10 - borrow
    return f"{a}-{b}: ones {ones}-{b % 10}={ones - b % 10}, tens {tens}-{b // 10}={tens - b // 10}."


def _solve_subtraction(slots: Slots) -> Solution | None:
    a, b = int(slots["number_a"]), int(slots["number_b"])
    return Solution(subtract_in_columns(a, b), str(a - b)) if a >= b else None


SUBTRACTION = Domain(
    "subtraction",
    (
        "What is {number_a} minus {number_b}?",
        "{name} has {number_a} {item} and gives away {number_b}. How many {item} are left?",
        "Of {number_a} {item} {number_b} are broken. How many {item} are whole?",
        "{name} needs {number_a} {item} and has {number_b}. How many {item} are missing?",
    ),
    _draw_subtraction,
    _solve_subtraction,
)


def _draw_products(rng: random.Random) -> Slots:
    return _draw_words(rng, rng.randint(11, 49), rng.randint(2, 6))


def _solve_products(slots: Slots) -> Solution | None:
    a, b = int(slots["number_a"]), int(slots["number_b"])
    tens, ones = a // 10 * 10, a % 10
    steps = f"{a}*{b}: {tens}*{b}={tens * b}, {ones}*{b}={ones * b}, {tens * b}+{ones * b}={a * b}."
    return Solution(steps, str(a * b))


PRODUCTS = Domain(
    "products",
    (
        "{name} fills {number_b} boxes with {number_a} {item} each. How many {item} is that?",
        "One box holds {number_a} {item}. How many {item} are in {number_b} boxes of {name}?",
        "{name} reads {number_a} pages a day. How many pages is that in {number_b} days?",
        "{name} saves {number_a} coins a week. How many coins is that after {number_b} weeks?",
    ),
    _draw_products,
    _solve_products,
)


def _draw_ages(rng: random.Random) -> Slots:
    names = rng.sample(NAMES, 3)
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return ages_slots(names, (a, b, rng.randint(1, min(9, a + b - 1))))


def ages_slots(names: Sequence[str], numbers: Sequence[int]) -> Slots:
    """Return the slots of a question about the ages of three persons."""
    slots = {f"name_{letter}": name for letter, name in zip("abc", names, strict=True)}
    return slots | {f"number_{letter}": str(n) for letter, n in zip("abc", numbers, strict=True)}


def _solve_ages(slots: Slots) -> Solution | None:
    if len({slots["name_a"], slots["name_b"], slots["name_c"]}) < 3:
        return None
    a, b, c = (int(slots[f"number_{letter}"]) for letter in "abc")
    second, third = a + b, a + b - c
    steps = f"{slots['name_b']} {a}+{b}={second}, {slots['name_c']} {second}-{c}={third}."
    return Solution(f"Ages: {slots['name_a']} {a}, {steps}", str(third)) if third >= 0 else None


AGES = Domain(
    "ages",
    (
        "{name_a} is {number_a}. {name_b} is {number_b} years older than {name_a}. "
        "{name_c} is {number_c} years younger than {name_b}. How old is {name_c}?",
        "{name_c} is {number_c} years younger than {name_b}. {name_b} is {number_b} years older "
        "than {name_a}. {name_a} is {number_a}. How old is {name_c}?",
    ),
    _draw_ages,
    _solve_ages,
)
