"""Quotas: how many examples each domain gets in each stage, by the chosen policy.

All policies of `core.policies` but `Split`, `MeasuredErrors` and `Gain` are one family, for stage
i of K with budget B_i:

    quota_d = B_i [ (1 - w_i) n_d / N + w_i / l ]

with w_i = 0 (natural), 1 (naive), i / K (adaptive) or any schedule. Shares are compared as
integers, never as floats, so a quota depends only on the numbers that the user wrote. `Gain` has
no shares: `core.gain` spends its units one by one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

from baldistill.core.gain import Expected, spend
from baldistill.core.longtail import (
    DomainCounts,
    check_counts,
    domain_weights,
    exact,
    head_domains,
)
from baldistill.core.own_policy import MeasuredOwn, OwnPolicy, own_quotas
from baldistill.core.policies import (
    Adaptive,
    Asked,
    Errors,
    Gain,
    MeasuredErrors,
    MeasuredGain,
    Naive,
    Natural,
    Policy,
    Schedule,
    Split,
)


@dataclass(frozen=True, slots=True)
class TailQuota:
    """A tail domain's quota: all unused real examples, then synthesised ones."""

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
    """Split the budget B over K stages: B // K each, the remainder to the earliest stages.

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
    """Return each domain's quota in one stage.

    The quotas are whole numbers that sum to exactly `stage_budget`, by largest remainder with ties
    by domain name. The domains come in the order of their names.

    Args:
        policy: The balancing policy.
        counts: Examples n_d of each domain in the whole corpus, not in the rest that is left.
        stage: The stage i, from 1.
        num_stages: Stages K.
        stage_budget: Examples B_i of this stage, 0 or more.

    Raises:
        ValueError: The stage is not one of 1..K, the budget is negative, the counts describe no
            corpus, the policy lists a different number of stages, or a user's policy gives
            anything but whole numbers that sum to the stage's budget (`OwnPartError`).
    """
    if isinstance(policy, OwnPolicy | MeasuredOwn):
        _check_stage(counts, stage, num_stages)
        return own_quotas(policy, counts, stage, num_stages, stage_budget)
    if isinstance(policy, Gain | MeasuredGain):
        return _gain_quotas(policy, counts, stage, num_stages, stage_budget)
    return _apportion(stage_budget, _shares(policy, counts, stage, num_stages))


def redistribute(
    policy: Policy,
    counts: DomainCounts,
    stage: int,
    num_stages: int,
    amount: int,
    exhausted: Collection[str],
    given: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Share the quota that dry domains could not fill among the other domains.

    The other domains keep the proportions that the policy gave them. If it gave them nothing (a
    `Split` without a tail share), they share equally. `Gain` goes on from what they have. If a
    receiver turns out dry as well, call this again with the receiver among the exhausted.

    Args:
        policy: The balancing policy.
        counts: Examples of each domain in the whole corpus.
        stage: The stage i, from 1.
        num_stages: Stages K.
        amount: Examples to give away, 0 or more.
        exhausted: Domains that can take no more.
        given: The quotas of this stage so far, for `Gain` and for policies of users, whose
            proportions these are.

    Returns:
        Extra quota of each other domain, summing to exactly `amount`. Empty when every
        domain is exhausted: then the amount stays unspent.

    Raises:
        ValueError: As `quotas`.
    """
    if isinstance(policy, Gain | MeasuredGain):
        return _gain_quotas(policy, counts, stage, num_stages, amount, exhausted, given)
    if isinstance(policy, OwnPolicy | MeasuredOwn):
        shares: Mapping[str, int] = given or dict.fromkeys(counts, 1)
    else:
        shares = _shares(policy, counts, stage, num_stages)
    others = {domain: share for domain, share in shares.items() if domain not in exhausted}
    if not any(others.values()):
        others = dict.fromkeys(others, 1)
    return _apportion(amount, others) if others else {}


def partition(quotas: Mapping[str, int], unused: Mapping[str, int]) -> Partition:
    """Decide which domains are head and which are tail in one stage (paper, section 3).

    A domain is head in this stage if the unused real examples left in the pool fill its quota.
    Otherwise it is tail.

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
    """Return integers in proportion to the domains' shares of one stage."""
    _check_stage(counts, stage, num_stages)
    if isinstance(policy, Split):
        return _split_shares(policy, counts, stage, num_stages)
    if isinstance(policy, MeasuredErrors):
        return _error_shares(policy, counts)
    weight = _balance_weight(policy, stage, num_stages)
    natural, equal = weight.denominator - weight.numerator, weight.numerator
    num_domains, num_examples = len(counts), sum(counts.values())
    return {
        domain: natural * count * num_domains + equal * num_examples
        for domain, count in counts.items()
    }


def _check_stage(counts: DomainCounts, stage: int, num_stages: int) -> None:
    check_counts(counts)
    if not 1 <= stage <= num_stages:
        raise ValueError(f"stage must be between 1 and {num_stages}, not {stage}")


def _gain_quotas(
    policy: Gain | MeasuredGain,
    counts: DomainCounts,
    stage: int,
    num_stages: int,
    amount: int,
    exhausted: Collection[str] = (),
    given: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Share the floor equally, then spend the rest, among the domains that are not exhausted."""
    _check_stage(counts, stage, num_stages)
    _check_amount(amount)
    measured = MeasuredGain(policy) if isinstance(policy, Gain) else policy
    rule, given = measured.rule, given or {}
    others = sorted(counts.keys() - set(exhausted))
    if not others:
        return {}
    equal = _apportion(math.floor(exact(rule.floor) * amount), dict.fromkeys(others, 1))
    weights = _objective_weights(rule, counts)
    domains = {}
    for domain in others:
        before = measured.trained.get(domain, 0) + rule.n0
        size = before + given.get(domain, 0) + equal[domain]
        error = measured.error(domain) * (before / size) ** rule.exponent
        domains[domain] = Expected(weights[domain] * error, size)
    rest = spend(
        domains, amount - sum(equal.values()), rule.exponent, largest=rule.objective == "worst"
    )
    return {domain: equal[domain] + rest[domain] for domain in others}


def _objective_weights(rule: Gain, counts: DomainCounts) -> dict[str, float]:
    match rule.objective:
        case "worst":
            return dict.fromkeys(counts, 1.0)
        case "macro" | "natural" | "entropy" | "dodrans" as weighting:
            return domain_weights(counts, weighting)
        case balance:
            natural = domain_weights(counts, "natural")
            return {
                d: (1 - balance) * share + balance / len(counts) for d, share in natural.items()
            }


def _balance_weight(policy: Policy, stage: int, num_stages: int) -> Fraction:
    """Return w_i of every policy that mixes the natural and the equal distribution."""
    match policy:
        case Natural():
            return Fraction(0)
        case Naive():
            return Fraction(1)
        case Adaptive() | Errors():
            return Fraction(stage, num_stages)
        case Schedule(weights=None, w_first=first, w_last=last, power=power):
            t = Fraction(stage - 1, num_stages - 1) if num_stages > 1 else Fraction(1)
            # Rounded, so that the last bit of one machine's pow() cannot move a quota.
            curve = t if power == 1 else exact(round(float(t) ** power, 12))
            return exact(first) + (exact(last) - exact(first)) * curve
        case Schedule(weights=weights) if weights is not None:
            return exact(_of_stage("weights", weights, stage, num_stages))
    raise AssertionError(f"not a policy with a balance weight: {policy!r}")


def _split_shares(
    policy: Split, counts: DomainCounts, stage: int, num_stages: int
) -> dict[str, int]:
    head = head_domains(counts, policy.head_mass)
    shares = policy.tail_shares * num_stages if len(policy.tail_shares) == 1 else policy.tail_shares
    tail_share = exact(_of_stage("tail_shares", shares, stage, num_stages))
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


def _error_shares(policy: MeasuredErrors, counts: DomainCounts) -> dict[str, int]:
    answers = {domain: policy.answers.get(domain, Asked(0, 0)) for domain in counts}
    errors = {domain: Fraction(a.wrong + 1, a.asked + 2) for domain, a in answers.items()}
    whole, equal = sum(errors.values()), exact(policy.floor)
    shares = {d: equal / len(counts) + (1 - equal) * error / whole for d, error in errors.items()}
    common = math.lcm(*(share.denominator for share in shares.values()))
    return {domain: int(share * common) for domain, share in shares.items()}


def _of_stage(what: str, per_stage: tuple[float, ...], stage: int, num_stages: int) -> float:
    if len(per_stage) != num_stages:
        raise ValueError(f"{len(per_stage)} {what} for {num_stages} stages: give one per stage")
    return per_stage[stage - 1]


def _check_amount(amount: int) -> None:
    if amount < 0:
        raise ValueError(f"the budget must not be negative, but is {amount}")


def _apportion(amount: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Split `amount` in proportion to integer shares by largest remainder, ties by name."""
    _check_amount(amount)
    whole = sum(shares.values())
    floors = {name: amount * shares[name] // whole for name in sorted(shares)}
    missing = amount - sum(floors.values())
    by_remainder = sorted(floors, key=lambda name: (-(amount * shares[name] % whole), name))
    for name in by_remainder[:missing]:
        floors[name] += 1
    return floors
