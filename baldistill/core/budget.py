"""Balancing policies: how many examples each domain gets in each stage.

Source: BalDistill (arXiv 2406.13114), section 3, "Naive Balancing" (BalDistill-N: B / (K l)
examples of a domain) and "Adaptive Balancing" (BalDistill-A: (n_d / N) (B / K) (K - i) / K
+ B / (K l) i / K). The paper's formulas stand in its text, without numbers. All policies but
`Split` and `Errors` are one family, for stage i of K with budget B_i:

    quota_d = B_i [ (1 - w_i) n_d / N + w_i / l ]

with w_i = 0 (natural), 1 (naive), i / K (adaptive) or any schedule. Shares are compared as
integers, never as floats, so a quota depends on nothing but the numbers the user wrote.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from baldistill.core.longtail import DomainCounts, check_counts, exact, head_domains


@dataclass(frozen=True, slots=True)
class Natural:
    """Every stage follows the corpus: w_i = 0."""


@dataclass(frozen=True, slots=True)
class Naive:
    """Every stage is fully balanced: w_i = 1. The paper's BalDistill-N."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """From nearly natural to fully balanced: w_i = i / K. The paper's BalDistill-A."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Any balance weights: a list, or a curve from the first stage to the last.

    Attributes:
        weights: One w_i in [0, 1] per stage. Given, the other fields are not used.
        w_first: Weight of stage 1, in [0, 1].
        w_last: Weight of stage K, in [0, 1]; also the weight when there is a single stage.
        power: Shape of the curve, above 0: w_i = w_first + (w_last - w_first) t^power with
            t = (i - 1) / (K - 1). 1 is linear; above 1 stays near `w_first` for longer.
    """

    weights: tuple[float, ...] | None = None
    w_first: float = 0.0
    w_last: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError on weights outside [0, 1] or a power that is not above 0."""
        given = (self.w_first, self.w_last) if self.weights is None else self.weights
        _check_shares("schedule weights", given)
        if not (self.power > 0 and math.isfinite(self.power)):
            raise ValueError(f"schedule power must be above 0, not {self.power}")


@dataclass(frozen=True, slots=True)
class Split:
    """A share of each stage for the tail, equally; the rest for the head, as in the corpus.

    Attributes:
        tail_shares: The tail's share s_i in [0, 1], one per stage, or a single one for all.
        head_mass: The head is the smallest set of largest domains that holds this share of
            the corpus. A corpus whose head is everything gives the tail's share to the head.
    """

    tail_shares: tuple[float, ...]
    head_mass: float = 0.8

    def __post_init__(self) -> None:
        """Raises ValueError on shares outside [0, 1] or a head that is not above 0."""
        _check_shares("tail shares", self.tail_shares)
        if not 0 < self.head_mass <= 1:
            raise ValueError(f"head_mass must be above 0 and at most 1, not {self.head_mass}")


class Asked(NamedTuple):
    """How a student did on questions of one domain."""

    asked: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Errors:
    """More for domains that the student gets wrong. Not in the paper.

    quota_d = B_i [ f / l + (1 - f) e_d / sum(e) ], with e_d = (wrong + 1) / (asked + 2) the
    current student's error in the domain, smoothed by Laplace's rule so that few questions never
    say "never" or "always". Without errors (stage 1) it is `Adaptive`.

    Attributes:
        floor: f in [0, 1]: the part of the budget that is shared equally.
        answers: By domain, how many of its real examples were asked and answered wrong; a domain
            that is not named counts as not asked (e = 1/2). None before there is a student.
    """

    floor: float = 0.5
    answers: Mapping[str, Asked] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError on a floor outside [0, 1]."""
        _check_shares("the floor", (self.floor,))


Policy: TypeAlias = Natural | Naive | Adaptive | Schedule | Split | Errors


class TailQuota(NamedTuple):
    """How a tail domain's quota is met: all unused real examples, then synthesised ones."""

    real: int
    synthetic: int


@dataclass(frozen=True, slots=True)
class Partition:
    """The head and the tail of one stage; together they are the domains that have a quota.

    Attributes:
        head: Quota of each head domain: at most the real examples left, chosen by score.
        tail: Real and synthetic examples of each tail domain; `synthetic` is at least 1.
    """

    head: dict[str, int]
    tail: dict[str, TailQuota]


def stage_budgets(total: int, num_stages: int) -> tuple[int, ...]:
    """Splits the budget B over K stages: B // K each, the remainder to the earliest stages.

    Args:
        total: Annotated examples B, 0 or more.
        num_stages: Stages K, 1 or more.

    Raises:
        ValueError: `total` is negative or `num_stages` below 1.
    """
    if total < 0:
        raise ValueError(f"the budget must not be negative, but is {total}")
    if num_stages < 1:
        raise ValueError(f"there must be at least one stage, not {num_stages}")
    each, remainder = divmod(total, num_stages)
    return tuple(each + (stage <= remainder) for stage in range(1, num_stages + 1))


def quotas(
    policy: Policy, counts: DomainCounts, stage: int, num_stages: int, stage_budget: int
) -> dict[str, int]:
    """Returns each domain's quota in one stage.

    Whole numbers that sum to exactly `stage_budget`, by largest remainder with ties by domain
    name, in the order of the names, whatever the order of `counts`.

    Args:
        policy: The balancing policy.
        counts: Examples n_d of each domain in the whole corpus (not what is left of it).
        stage: The stage i, from 1.
        num_stages: Stages K.
        stage_budget: Examples B_i of this stage, 0 or more.

    Raises:
        ValueError: The stage is not one of 1..K, the budget is negative, the counts describe no
            corpus, or the policy lists a different number of stages.
    """
    return _apportion(stage_budget, _shares(policy, counts, stage, num_stages))


def redistribute(
    policy: Policy,
    counts: DomainCounts,
    stage: int,
    num_stages: int,
    shortfall: int,
    exhausted: Collection[str],
) -> dict[str, int]:
    """Gives the quota that dry domains could not fill to the other domains, by the same policy.

    The other domains keep the proportions the policy gave them; where it gave them nothing (a
    `Split` without a tail share), they share equally. A receiver may turn out dry as well: call
    again with it among the exhausted.

    Args:
        policy: The balancing policy.
        counts: Examples of each domain in the whole corpus.
        stage: The stage i, from 1.
        num_stages: Stages K.
        shortfall: Examples to give away, 0 or more.
        exhausted: Domains that can take no more.

    Returns:
        Extra quota of each other domain, summing to exactly `shortfall`; empty when every
        domain is exhausted, and then the shortfall stays unspent.

    Raises:
        ValueError: As `quotas`.
    """
    shares = _shares(policy, counts, stage, num_stages)
    others = {domain: share for domain, share in shares.items() if domain not in exhausted}
    if not any(others.values()):
        others = dict.fromkeys(others, 1)
    return _apportion(shortfall, others) if others else {}


def partition(quotas: Mapping[str, int], unused: Mapping[str, int]) -> Partition:
    """Decides which domains are head and which are tail in one stage (paper, section 3).

    A domain whose quota is at most the unused real examples left in the pool is a head domain
    in this stage; one whose quota exceeds them is a tail domain.

    Args:
        quotas: Quota of each domain in this stage.
        unused: Real examples of each domain left in the pool; a domain not named has none.
    """
    head: dict[str, int] = {}
    tail: dict[str, TailQuota] = {}
    for domain, quota in quotas.items():
        real = unused.get(domain, 0)
        assert min(quota, real) >= 0, (domain, quota, real)
        if quota <= real:
            head[domain] = quota
        else:
            tail[domain] = TailQuota(real=real, synthetic=quota - real)
    return Partition(head=head, tail=tail)


def _shares(policy: Policy, counts: DomainCounts, stage: int, num_stages: int) -> dict[str, int]:
    """Returns integers in proportion to the domains' shares of one stage."""
    check_counts(counts)
    if not 1 <= stage <= num_stages:
        raise ValueError(f"stage must be between 1 and {num_stages}, not {stage}")
    if isinstance(policy, Split):
        return _split_shares(policy, counts, stage, num_stages)
    if isinstance(policy, Errors):
        if policy.answers is None:
            return _shares(Adaptive(), counts, stage, num_stages)
        return _error_shares(policy.floor, policy.answers, counts)
    weight = _balance_weight(policy, stage, num_stages)
    natural, equal = weight.denominator - weight.numerator, weight.numerator
    num_domains, num_examples = len(counts), sum(counts.values())
    return {
        domain: natural * count * num_domains + equal * num_examples
        for domain, count in counts.items()
    }


def _balance_weight(policy: Policy, stage: int, num_stages: int) -> Fraction:
    """Returns w_i of every policy that mixes the natural and the equal distribution."""
    match policy:
        case Natural():
            return Fraction(0)
        case Naive():
            return Fraction(1)
        case Adaptive():
            return Fraction(stage, num_stages)
        case Schedule(weights=None, w_first=first, w_last=last, power=power):
            t = Fraction(stage - 1, num_stages - 1) if num_stages > 1 else Fraction(1)
            # Rounded, so that the last bit of one machine's pow() cannot move a quota.
            curve = t if power == 1 else exact(round(float(t) ** power, 12))
            return exact(first) + (exact(last) - exact(first)) * curve
        case Schedule(weights=weights) if weights is not None:
            return exact(_of_stage("schedule weights", weights, stage, num_stages))
    raise AssertionError(f"not a policy with a balance weight: {policy!r}")


def _split_shares(
    policy: Split, counts: DomainCounts, stage: int, num_stages: int
) -> dict[str, int]:
    head = head_domains(counts, policy.head_mass)
    shares = policy.tail_shares * num_stages if len(policy.tail_shares) == 1 else policy.tail_shares
    tail_share = exact(_of_stage("tail shares", shares, stage, num_stages))
    num_tail = len(counts) - len(head)
    if num_tail == 0:
        return dict(counts)
    num_head_examples = sum(counts[domain] for domain in head)
    for_head = tail_share.denominator - tail_share.numerator
    return {
        domain: for_head * count * num_tail
        if domain in head
        else tail_share.numerator * num_head_examples
        for domain, count in counts.items()
    }


def _error_shares(
    floor: float, answers: Mapping[str, Asked], counts: DomainCounts
) -> dict[str, int]:
    unasked = Asked(0, 0)
    errors = {
        domain: Fraction(answers.get(domain, unasked).wrong + 1)
        / (answers.get(domain, unasked).asked + 2)
        for domain in counts
    }
    whole, equal = sum(errors.values()), exact(floor)
    shares = {d: equal / len(counts) + (1 - equal) * error / whole for d, error in errors.items()}
    common = math.lcm(*(share.denominator for share in shares.values()))
    return {domain: int(share * common) for domain, share in shares.items()}


def _of_stage(what: str, per_stage: tuple[float, ...], stage: int, num_stages: int) -> float:
    if len(per_stage) != num_stages:
        raise ValueError(f"{len(per_stage)} {what} for {num_stages} stages: give one per stage")
    return per_stage[stage - 1]


def _apportion(amount: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Splits `amount` in proportion to integer shares by largest remainder, ties by name."""
    if amount < 0:
        raise ValueError(f"the budget must not be negative, but is {amount}")
    whole = sum(shares.values())
    floors = {name: amount * shares[name] // whole for name in sorted(shares)}
    missing = amount - sum(floors.values())
    by_remainder = sorted(floors, key=lambda name: (-(amount * shares[name] % whole), name))
    for name in by_remainder[:missing]:
        floors[name] += 1
    return floors


def _check_shares(what: str, shares: tuple[float, ...]) -> None:
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"{what} must be numbers between 0 and 1, not {list(shares)}")
