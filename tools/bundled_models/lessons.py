"""The texts that the bundled teacher is trained on: it solves, explains and writes questions."""

from __future__ import annotations

import random
from collections.abc import Iterator

from baldistill.bundled.domains import DOMAINS, make_example
from tools.bundled_models import formats
from tools.bundled_models.plain_text import make_plain_text

MOST_DEMONSTRATIONS = 3


def draw_demonstrations(domain: str, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Draw questions of a domain with their gold answers, to be shown in a synthesis prompt."""
    examples = [make_example(domain, rng) for _ in range(count)]
    return [(example.question, example.answer) for example in examples]


def make_lessons(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield for each domain one prompt and completion of each of the three kinds.

    After every other domain comes a plain text, with an empty prompt.
    """
    for number, domain in enumerate(DOMAINS):
        if number % 2:
            yield "", make_plain_text(rng)
        example = make_example(domain, rng)
        solution = formats.solution(example.rationale, example.answer)
        yield formats.solve_prompt(example.question), solution
        example = make_example(domain, rng)
        solution = formats.solution(example.rationale, example.answer)
        yield formats.rationale_prompt(example.question, example.answer), solution
        shown = draw_demonstrations(domain, rng.randint(0, MOST_DEMONSTRATIONS), rng)
        yield formats.synthesis_prompt(domain, shown), formats.synthesis(make_example(domain, rng))
