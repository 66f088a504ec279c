"""The plain text that the bundled student is trained on before any distillation.

A base model knows its language and some facts, and has seen no instructions. So this text holds
calendars, the alphabet, spelled names, notes about people and things, and bare working-out, in the
vocabulary of the corpus, but no question of it: fine-tuning has to teach what is asked and how to
get from there to the answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from baldistill.bundled.domains import BY_NAME, DOMAINS, make_example
from baldistill.bundled.lexicon import COLOURS, DAYS, ITEMS, LETTERS, MONTHS, NAMES
from baldistill.bundled.ordering import count_on
from baldistill.bundled.questions import Example


def _letters(rng: random.Random) -> str:
    return " ".join(rng.sample(LETTERS, rng.randint(3, 6)))


def _numbers(rng: random.Random) -> list[str]:
    return [str(rng.randint(1, 99)) for _ in range(rng.randint(3, 5))]


def _calendar(rng: random.Random) -> str:
    cycle = rng.choice((DAYS, MONTHS))
    start, steps = rng.choice(cycle), rng.randint(1, 8)
    counted = count_on(cycle, start, steps)
    if rng.random() < 0.5:
        return f"From {start} on: {counted}."
    return f"{' '.join(counted.split(' ')[1::2])}."


def _alphabet(rng: random.Random) -> str:
    first = rng.randrange(20)
    letters = LETTERS[first : first + rng.randint(4, 8)]
    return f"The alphabet: {' '.join(letters)}."


def _copied(rng: random.Random) -> str:
    words = rng.choice(
        (
            _letters(rng),
            ", ".join(_numbers(rng)),
            ", ".join(rng.sample(NAMES, rng.randint(2, 5))),
            ", ".join(rng.choices(COLOURS, k=rng.randint(2, 4))),
        )
    )
    name = rng.choice(NAMES)
    return rng.choice(
        (
            f"{name} wrote {words}. Copied: {words}.",
            f"First {words}, then {words}.",
            f"{name} said: {words}. {name} said again: {words}.",
        )
    )


def _repeated(rng: random.Random) -> str:
    """Repeat a line of mixed words three times."""
    words = (*NAMES, *ITEMS, *COLOURS, *DAYS, *MONTHS, *LETTERS, *map(str, range(100)))
    line = " ".join(rng.choices(words, k=rng.randint(4, 8)))
    return f"{line}. {line}. {line}."


def _compared(rng: random.Random) -> str:
    """Small comparisons as statements, and a tally."""
    if rng.random() < 0.3:
        colour, count, steps = rng.choice(COLOURS), 0, []
        for other in rng.choices((*COLOURS, colour, colour), k=rng.randint(3, 5)):
            count += other == colour
            steps.append(f"{other} {count}")
        return f"Tally of {colour}: {', '.join(steps)}."
    statements = []
    for _ in range(rng.randint(3, 6)):
        a, b = rng.sample(range(10, 100), 2)
        statements.append(f"{a}{'<' if a < b else '>'}{b}")
    return f"{', '.join(statements)}."


def _spelled(rng: random.Random) -> str:
    name = rng.choice(NAMES)
    return rng.choice(
        (
            f"{name}: {' '.join(name.lower())}.",
            f"{name} starts with {name[0].lower()} and ends with {name[-1]}.",
        )
    )


def _notes(rng: random.Random) -> str:
    """State some facts, and the same facts in another order."""
    names = rng.sample(NAMES, rng.randint(2, 3))
    facts = {
        name: rng.choice(
            (
                f"{rng.randint(1, 99)} {rng.choice(ITEMS)}",
                f"{rng.randint(1, 99)} years",
                f"{rng.randint(1, 99)} coins",
                f"a {rng.choice(COLOURS)} card",
                f"the letters {_letters(rng)}",
                f"a party on {rng.choice(DAYS)}",
                f"a trip in {rng.choice(MONTHS)}",
            )
        )
        for name in names
    }
    once = " ".join(f"{name} has {fact}." for name, fact in facts.items())
    rng.shuffle(names)
    return f"{once} Again: {', '.join(f'{name} {facts[name]}' for name in names)}."


def _working(rng: random.Random) -> str:
    """Working-out without the question that it belongs to."""
    return _worked(make_example(rng.choice(DOMAINS), rng))


def _worked(example: Example) -> str:
    return f"{example.rationale} So {example.answer}."


def _facts(example: Example) -> tuple[str, ...]:
    """Take the names, words and numbers out of a question, in order, without its wording."""
    matches = (p.fullmatch(example.question) for p in BY_NAME[example.domain].patterns)
    return next(match.groups() for match in matches if match)


def _noted_working(rng: random.Random) -> str:
    """Bare facts, noted without saying what is asked, and then the working-out."""
    example = make_example(rng.choice(DOMAINS), rng)
    noted = _facts(example)
    return f"{rng.choice(('Given', 'With', 'Notes'))}: {'; '.join(noted)}\n{_worked(example)}"


_KINDS: Final[tuple[tuple[Callable[[random.Random], str], int], ...]] = (
    (_calendar, 2),
    (_alphabet, 1),
    (_copied, 3),
    (_spelled, 1),
    (_compared, 4),
    (_repeated, 2),
    (_notes, 3),
    (_working, 5),
    (_noted_working, 14),
)


def make_plain_text(rng: random.Random) -> str:
    """Write one line or a few lines of plain text of the kinds above."""
    kinds, weights = zip(*_KINDS, strict=True)
    return "\n".join(kind(rng) for kind in rng.choices(kinds, weights, k=rng.randint(1, 3)))
