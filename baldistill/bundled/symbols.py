"""Domains about symbols: flips of a coin, reversal, counting, last letters."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from baldistill.bundled.lexicon import COLOURS, LETTERS, NAMES
from baldistill.bundled.questions import Domain, Slots, Solution

_OTHER: Final = {"heads": "tails", "tails": "heads", "on": "off", "off": "on"}


def _draw_flips(rng: random.Random) -> Slots:
    return flip_slots(rng, rng.sample(NAMES, rng.choice((3, 4))))


def flip_slots(rng: random.Random, names: Sequence[str]) -> Slots:
    """Draw what each person does to a coin or a switch."""
    acts = [rng.random() < 0.5 for _ in names]
    pairs = list(zip(names, acts, strict=True))
    return {
        "side": rng.choice(("heads", "tails")),
        "power": rng.choice(("on", "off")),
        "flips": " ".join(f"{n} {'flips it' if act else 'does not flip it'}." for n, act in pairs),
        "presses": " ".join(
            f"{n} {'presses the switch' if act else 'does nothing'}." for n, act in pairs
        ),
    }


def _solve_flips(slots: Slots) -> Solution | None:
    state = slots["side"] if "side" in slots else slots["power"]
    acts = slots["flips"] if "flips" in slots else slots["presses"]
    steps = [state]
    for act in acts.removesuffix(".").split(". "):
        name, verb, *rest = act.split(" ")
        state = state if verb == "does" else _OTHER[state]
        steps.append(f"{name} {rest[0] if verb == 'does' else verb}: {state}")
    return Solution(f"First {', '.join(steps)}.", state)


FLIPS = Domain(
    "flips",
    (
        "A coin shows {side}. {flips} What does it show now?",
        "The coin lies with {side} up. {flips} Which side is up?",
        "A lamp is {power}. {presses} Is the lamp on or off?",
    ),
    _draw_flips,
    _solve_flips,
)


def _draw_reversal(rng: random.Random) -> Slots:
    letters = rng.sample(LETTERS, rng.choice((3, 4, 5)))
    return {"letters": " ".join(letters), "name": rng.choice(NAMES)}


def _solve_reversal(slots: Slots) -> Solution | None:
    letters = slots["letters"].split(" ")
    placed = [f"{place} {letter}" for place, letter in enumerate(letters, 1)]
    steps = f"Forward {' '.join(placed)}, back {' '.join(reversed(placed))}."
    return Solution(steps, " ".join(reversed(letters)))


REVERSAL = Domain(
    "reversal",
    (
        "Write the letters {letters} in reverse.",
        "{name} reads the letters {letters} from right to left. What does {name} read?",
        "What is {letters} spelled backwards?",
    ),
    _draw_reversal,
    _solve_reversal,
)


def _draw_counting(rng: random.Random) -> Slots:
    names = rng.sample(NAMES, rng.choice((3, 4, 5)))
    colours = [rng.choice(COLOURS) for _ in names]
    return {
        "picks": ", ".join(f"{n} {colour}" for n, colour in zip(names, colours, strict=True)),
        "colour": rng.choice((rng.choice(colours), rng.choice(COLOURS))),
    }


def _solve_counting(slots: Slots) -> Solution | None:
    count, steps = 0, []
    for pick in slots["picks"].split(", "):
        count += pick.endswith(f" {slots['colour']}")
        steps.append(f"{pick} {count}")
    return Solution(f"Count {slots['colour']}: {', '.join(steps)}.", str(count))


COUNTING = Domain(
    "counting",
    (
        "Cards were drawn: {picks}. How many are {colour}?",
        "The lamps are {picks}. How many lamps are {colour}?",
        "How many chose {colour}: {picks}?",
    ),
    _draw_counting,
    _solve_counting,
)


def _draw_last_letters(rng: random.Random) -> Slots:
    return {"names": ", ".join(rng.sample(NAMES, rng.choice((3, 4))))}


def _solve_last_letters(slots: Slots) -> Solution | None:
    names = slots["names"].split(", ")
    steps = ", ".join(f"{name} {name[-1]}" for name in names)
    return Solution(f"Ends: {steps}.", " ".join(name[-1] for name in names))


LAST_LETTERS = Domain(
    "last_letters",
    (
        "Take the last letters of {names}. What do they spell?",
        "Which letters do the names {names} end with?",
        "Write the last letter of each name: {names}.",
    ),
    _draw_last_letters,
    _solve_last_letters,
)
