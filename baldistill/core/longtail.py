"""The shape of a long-tailed corpus: domain counts, head domains, imbalance figures.

Source: BalDistill (arXiv 2406.13114), section 3. Notation as there: a corpus of N examples in l
domains, n_d examples in domain d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Literal, TypeAlias

import numpy as np

DomainCounts: TypeAlias = Mapping[str, int]
"""Number of examples n_d of each domain d. A domain may be empty (0)."""


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Figures of how unequal the domains of a corpus are.

    Attributes:
        num_domains: Domains l, empty ones included.
        num_examples: Examples N.
        largest: Examples in the largest domain.
        smallest: Examples in the smallest domain.
        ratio: `largest / smallest`; infinite when a domain is empty.
        gini: Gini coefficient of the domain sizes: 0 when all are equal, towards 1 when one
            domain holds everything.
        head_mass: The share of the corpus that defines the head, as asked for.
        num_head_domains: Domains in the head.
        head_share: Share of the examples that the head really holds (at least `head_mass`).
    """

    num_domains: int
    num_examples: int
    largest: int
    smallest: int
    ratio: float
    gini: float
    head_mass: float
    num_head_domains: int
    head_share: float

    def to_dict(self) -> dict[str, int | float]:
        """Return the figures as a flat, JSON-ready dictionary."""
        return asdict(self)


def check_counts(counts: DomainCounts) -> None:
    """Raise ValueError unless `counts` describes a corpus with at least one example."""
    if not counts:
        raise ValueError("the corpus has no domains: every example needs a domain")
    negative = sorted(domain for domain, count in counts.items() if count < 0)
    if negative:
        raise ValueError(f"domain counts must not be negative, but these are: {negative[:5]}")
    if not any(counts.values()):
        raise ValueError(f"the corpus has no examples in any of its {len(counts)} domains")


def exact(value: float) -> Fraction:
    """Return the decimal number a person wrote, not its binary neighbour: 0.8 is 4/5.

    Args:
        value: A finite number.

    Raises:
        ValueError: `value` is infinite or not a number.
    """
    return Fraction(repr(float(value)))


def by_size(counts: Mapping[str, float]) -> list[str]:
    """Return the domains, largest first, ties in the order of their names."""
    return sorted(counts, key=lambda domain: (-counts[domain], domain))


def head_domains(counts: DomainCounts, head_mass: float = 0.8) -> frozenset[str]:
    """Return the smallest set of largest domains that holds `head_mass` of the corpus.

    Domains of the same size are taken in the order of their names, so the result depends on the
    counts only. A `head_mass` of 0 gives an empty head, 1 every domain that is not empty.

    Args:
        counts: Examples per domain.
        head_mass: Share of the corpus, in [0, 1].

    Raises:
        ValueError: The counts describe no corpus, or `head_mass` is outside [0, 1].
    """
    check_counts(counts)
    if not 0 <= head_mass <= 1:
        raise ValueError(f"head_mass must be between 0 and 1, not {head_mass}")
    wanted = exact(head_mass) * sum(counts.values())
    ordered = by_size(counts)
    held_before = accumulate((counts[domain] for domain in ordered), initial=0)
    return frozenset(
        domain for domain, held in zip(ordered, held_before, strict=False) if held < wanted
    )


Weighting: TypeAlias = Literal["macro", "natural", "entropy", "dodrans"]
"""Weight of a domain that has n of the N examples: 1, n, -n log(n / N) or n^(3/4).

The last two lie between macro and natural.
Source: Harbecke et al. 2022, "Why only Micro-F1? Class Weighting of Measures for Relation
Classification".
"""


def domain_weights(counts: DomainCounts, weighting: Weighting) -> dict[str, float]:
    """Return the domains' weights, which sum to 1; equal ones where all would be 0.

    Args:
        counts: Examples per domain; at least one domain.
        weighting: By what they are weighed.
    """
    whole = sum(counts.values())
    of: dict[Weighting, Callable[[int], float]] = {
        "macro": lambda n: 1.0,
        "natural": lambda n: float(n),
        "entropy": lambda n: n * math.log(whole / n) if n else 0.0,
        "dodrans": lambda n: n**0.75,
    }
    weights = {domain: of[weighting](count) for domain, count in counts.items()}
    total = math.fsum(weights.values())
    if not total:
        return dict.fromkeys(counts, 1 / len(counts))
    return {domain: weight / total for domain, weight in weights.items()}


def imbalance(counts: DomainCounts, head_mass: float = 0.8) -> Imbalance:
    """Return the imbalance figures that reports show.

    Args:
        counts: Examples per domain.
        head_mass: Share of the corpus that defines the head, in [0, 1].

    Raises:
        ValueError: As `head_domains`.
    """
    head = head_domains(counts, head_mass)
    num_examples = sum(counts.values())
    largest, smallest = max(counts.values()), min(counts.values())
    return Imbalance(
        num_domains=len(counts),
        num_examples=num_examples,
        largest=largest,
        smallest=smallest,
        ratio=largest / smallest if smallest else float("inf"),
        gini=_gini(sorted(counts.values())),
        head_mass=head_mass,
        num_head_domains=len(head),
        head_share=sum(counts[domain] for domain in head) / num_examples,
    )


def zipf_sizes(counts: DomainCounts, alpha: float) -> dict[str, int]:
    """Return the domain sizes that make a corpus long-tailed by Zipf's law.

    The largest domain keeps its n_1 examples; the one of rank k (by size, then by name) keeps
    n_1 / k^alpha, rounded down, but at least one and at most all that it has.

    Source: Dai et al. 2023 (OLTQA, 2305.06557), whose sizes are a random draw with this mean; the
    paper makes its question answering corpora long-tailed with alpha = 2.

    Args:
        counts: Examples per domain; empty domains are left out.
        alpha: Zipf exponent, 0 or more; 0 changes nothing.

    Raises:
        ValueError: The counts describe no corpus, or `alpha` is negative or not finite.
    """
    check_counts(counts)
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"alpha must be a finite number of 0 or more, not {alpha}")
    ordered = by_size({domain: count for domain, count in counts.items() if count})
    largest = counts[ordered[0]]
    sizes = {
        # rounded, so that the last bit of one machine's pow() cannot move a size
        domain: min(counts[domain], max(1, int(round(largest / rank**alpha, 6))))
        for rank, domain in enumerate(ordered, start=1)
    }
    return dict(sorted(sizes.items()))


def random_sizes(counts: DomainCounts, total: int, seed: int) -> dict[str, int]:
    """Return how many rows of each domain are among `total` rows that are drawn at random.

    All of them, if there are no more than `total`.
    """
    names = sorted(counts)
    sizes = [counts[name] for name in names]
    if sum(sizes) <= total:
        return dict(zip(names, sizes, strict=True))
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        sizes, total, method="marginals"
    )
    return {name: int(number) for name, number in zip(names, drawn, strict=True)}


def sizes_by_share(counts: DomainCounts, shares: Mapping[str, float]) -> dict[str, int]:
    """Return sizes in proportion to the domains' shares, as large as the scarcest domain allows.

    Args:
        counts: Rows of each domain, at least 1.
        shares: Above 0, of each of these domains; they need not sum to 1.
    """
    most = min(counts[domain] / exact(shares[domain]) for domain in counts)
    return {domain: max(1, int(most * exact(shares[domain]))) for domain in sorted(counts)}


def _gini(ascending: list[int]) -> float:
    """Return the Gini coefficient of ascending sizes: sum_i (2i - l - 1) n_i / (l N), i from 1."""
    num = len(ascending)
    spread = sum((2 * i - num - 1) * size for i, size in enumerate(ascending, start=1))
    return spread / (num * sum(ascending))
