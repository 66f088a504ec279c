"""The embedded long-tailed corpus: a few domains hold most of the examples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import pyarrow as pa

from baldistill.bundled.domains import DOMAINS, Level, make_example
from baldistill.bundled.questions import Example

CORPUS_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("id", "domain", "question", "answer")]
)
_MAX_REPEATED: Final = 1000
"""Draws in a row without a new question after which a domain counts as exhausted."""


def zipf_sizes(total: int, num_domains: int, alpha: float) -> list[int]:
    """Divide a corpus among domains so that the r-th largest holds a share of r ** -alpha.

    The sizes are whole numbers by largest remainder. They sum to `total`; none is below one.

    Raises:
        ValueError: If there are fewer examples than domains.
    """
    if total < num_domains:
        raise ValueError(f"{total} examples cannot fill {num_domains} domains; ask for more")
    weights = [rank**-alpha for rank in range(1, num_domains + 1)]
    spare = total - num_domains
    shares = [spare * weight / sum(weights) for weight in weights]
    sizes = [int(share) for share in shares]
    by_remainder = sorted(range(num_domains), key=lambda i: (sizes[i] - shares[i], i))
    for i in by_remainder[: spare - sum(sizes)]:
        sizes[i] += 1
    return [1 + size for size in sizes]


def _draw_new(
    domain: str, count: int, rng: random.Random, taken: set[str], level: Level
) -> list[Example]:
    """Draw examples whose questions are not in `taken`, and add the questions to it."""
    examples: list[Example] = []
    num_repeated = 0
    while len(examples) < count:
        example = make_example(domain, rng, level)
        if example.question not in taken:
            taken.add(example.question)
            examples.append(example)
            num_repeated = 0
        elif (num_repeated := num_repeated + 1) == _MAX_REPEATED:
            raise ValueError(f"domain {domain!r} has no {count} further questions; ask for fewer")
    return examples


def _table(prefix: str, examples: Sequence[Example]) -> pa.Table:
    rows = [asdict(example) | {"id": f"{prefix}-{i:06d}"} for i, example in enumerate(examples)]
    return pa.Table.from_pylist(rows, schema=CORPUS_SCHEMA)


def make_corpus(
    num_train: int = 4000,
    num_evaluation_per_domain: int = 60,
    alpha: float = 2.0,
    seed: int = 0,
    level: Level = 1,
) -> tuple[pa.Table, pa.Table]:
    """Generate the training and the evaluation table (CORPUS_SCHEMA) of the embedded corpus.

    No question occurs twice, within or between them. The training rows are divided among the
    domains by Zipf's law with the exponent `alpha` and shuffled; the evaluation rows are in the
    order of `DOMAINS`. The same seed gives the same tables on any Python version. Of level 2 both
    have harder questions (`bundled.harder`).

    Raises:
        ValueError: If `num_train` is below the number of domains, or a domain has too few
            different questions.
    """
    train: list[Example] = []
    evaluation: list[Example] = []
    sizes = zipf_sizes(num_train, len(DOMAINS), alpha)
    suffix = "" if level == 1 else f"/{level}"
    for domain, size in zip(DOMAINS, sizes, strict=True):
        rng, taken = random.Random(f"{seed}/{domain}" + suffix), set[str]()
        evaluation += _draw_new(domain, num_evaluation_per_domain, rng, taken, level)
        train += _draw_new(domain, size, rng, taken, level)
    random.Random(f"{seed}/order").shuffle(train)
    return _table("train", train), _table("evaluation", evaluation)
