"""Estimate what the teacher calls of a plan read and write.

There are two figures of each kind. *Expected*: every first answer is accepted (for a majority: the
first answers agree), a recording has every example, and a response is half as long as allowed.
*At most*: every allowed attempt of every teacher is needed for every example that may be tried, and
every response is as long as allowed. A judge reads responses, so the same lengths hold for the
texts in its prompts. Quota that a dry domain gives to others, and requests that a server fails,
count in neither. Prompts are measured on a sample of the corpus (`plan_prompts.py`), so both
figures are estimates. Only the caps of `budget` are never exceeded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from baldistill.config import Config
from baldistill.config.teachers import TierConfig
from baldistill.core.ledger import Purpose
from baldistill.core.majority import quorum
from baldistill.method.plan import StagePlan
from baldistill.method.select import candidate_counts

_RESPONSE_SHARE = 0.5  # expected length of a response, as a share of the longest

PromptLengths: TypeAlias = Mapping[tuple[int, Purpose, str], float]
"""Mean tokens of a prompt by tier (from 0), purpose and domain."""


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one kind to one teacher for one domain: expected, and at most.

    Of a judge's calls, `longest_read` is the most tokens that the response in its prompt may have.
    """

    tier: int
    purpose: Purpose
    domain: str
    expected: int
    at_most: int
    longest_read: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Total usage of calls; tokens and cost are 0 where no prompts were measured."""

    calls: float
    tokens: float
    cost: float

    def under(self, caps: Mapping[str, float]) -> Usage:
        """Return the usage with each figure limited by its cap."""
        return replace(self, **{name: min(getattr(self, name), caps[name]) for name in caps})

    def first_over(self, caps: Mapping[str, float]) -> str | None:
        """Return the name of the cap that is reached first, if one is below the usage."""
        shares = {name: caps[name] / used for name in caps if (used := getattr(self, name))}
        first = min(shares, key=lambda name: shares[name], default=None)
        return first if first is not None and shares[first] < 1 else None


def planned_calls(
    config: Config,
    stages: Sequence[StagePlan],
    counts: Mapping[str, int],
    recorded: Mapping[str, int],
    evaluated: Mapping[str, int],
) -> Iterator[PlannedCalls]:
    """Yield the calls that the stages' quotas need; a recorded teacher is never called.

    Of each domain, `recorded` new examples are expected to come from a recording, and `evaluated`
    questions are in the evaluation set.
    """
    calls = list(_calls_to_teachers(config, stages, counts, recorded, evaluated))
    yield from calls
    if config.judge is not None:
        yield from _verdicts(config, calls, recorded, evaluated)


def _verdicts(
    config: Config,
    calls: Sequence[PlannedCalls],
    recorded: Mapping[str, int],
    evaluated: Mapping[str, int],
) -> Iterator[PlannedCalls]:
    """Yield the judge's calls: for each text that is to be judged, and at most two for each."""
    tiers = config.teacher.tiers
    expected, most = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for part in calls:
        real = part.purpose == "rationale"
        if part.purpose in ("rationale", "synthesis") and config.is_judged(part.domain, real=real):
            key = part.domain, _longest_response(config, part)
            expected[key] += part.expected
            most[key] += part.at_most
    if "synthesize" in config.tail.fills:
        longest = max(tier.synthesis.max_new_tokens for tier in tiers)
        most.update({(d, longest): n for d, n in recorded.items() if config.is_judged(d)})
    trained = config.stages if config.budget.total else 0
    times = trained if config.evaluation.every_stage else min(trained, 1)
    times += config.evaluation.base_student or not trained
    answers = Counter({config.student.response.max_new_tokens: times})
    answers[max(tier.rationale.max_new_tokens for tier in tiers)] += config.evaluation.teacher
    for domain, count in evaluated.items():
        if config.is_judged(domain):
            judged = Counter({(domain, longest): count * n for longest, n in answers.items()})
            expected += judged
            most += judged
    judge = len(config.models_asked) - 1
    for (domain, longest), count in sorted(most.items()):
        first = expected[domain, longest]
        yield PlannedCalls(judge, "judgement", domain, first, 2 * count, longest)


def _calls_to_teachers(
    config: Config,
    stages: Sequence[StagePlan],
    counts: Mapping[str, int],
    recorded: Mapping[str, int],
    evaluated: Mapping[str, int],
) -> Iterator[PlannedCalls]:
    real, new, further = count_wanted(config, stages)
    most_real, most_beyond = real, _beyond(stages)
    if config.teacher_explains and config.rationale.on_mismatch == "drop":
        most_real, most_beyond = _count_if_all_are_dropped(config, stages, counts)
    writers = [i for i, tier in enumerate(config.teacher.tiers) if not tier.recorded]
    for tier in writers if config.asks_about_evaluation else ():
        votes = config.rationale.votes if config.evaluation.gold == "teacher" else 1
        for domain, count in sorted(evaluated.items()):
            first = count * quorum(votes) if tier == 0 else 0
            yield PlannedCalls(tier, "evaluation", domain, first, count * votes)
    for tier in writers:
        for domain, count in sorted(most_real.items()):
            first = real[domain] if tier == 0 else 0
            if config.rationale.accept == "majority":
                votes = config.rationale.votes
                yield PlannedCalls(tier, "rationale", domain, first, count)
                others = first * (quorum(votes) - 1), count * (votes - 1)
                yield PlannedCalls(tier, "vote", domain, *others)
            else:
                most = count * config.rationale.max_attempts
                yield PlannedCalls(tier, "rationale", domain, first, most)
            if config.rationale.per_example > 1:  # each example gives more units, and is asked more
                units = sum(stage.quotas.get(domain, 0) for stage in stages)
                more = units * config.rationale.max_attempts
                yield PlannedCalls(tier, "rationale", domain, 0, more)
        again = most_beyond if "rationales" in config.tail.fills else Counter[str]()
        for domain, count in sorted(again.items()):
            first = further[domain] if tier == 0 else 0
            most = math.ceil(count * config.tail.max_attempts_per_example)
            yield PlannedCalls(tier, "rationale", domain, first, most)
        most_new = most_beyond if "synthesize" in config.tail.fills else Counter[str]()
        for domain, count in sorted(most_new.items()):
            first = max(0, new[domain] - recorded.get(domain, 0)) if tier == writers[0] else 0
            most = math.ceil(count * config.tail.max_attempts_per_example)
            yield PlannedCalls(tier, "synthesis", domain, first, most)
            solved = 0 if config.is_judged(domain) else config.tail.votes
            if solved and config.tail.verifier is None:
                yield PlannedCalls(tier, "verification", domain, first * solved, most * solved)
    if "synthesize" in config.tail.fills and config.tail.verifier is not None:
        yield from _verifier_calls(config, most_beyond, new, recorded, len(writers))


def _verifier_calls(
    config: Config,
    most_new: Mapping[str, int],
    new: Mapping[str, int],
    recorded: Mapping[str, int],
    num_writers: int,
) -> Iterator[PlannedCalls]:
    """Yield the votes of another model on all new examples, written and recorded."""
    votes, verifier = config.tail.votes, len(config.teacher.tiers)
    for domain, count in sorted(most_new.items()):
        if config.is_judged(domain):
            continue
        written = num_writers * math.ceil(count * config.tail.max_attempts_per_example)
        most = (written + recorded.get(domain, 0)) * votes
        yield PlannedCalls(verifier, "verification", domain, new[domain] * votes, most)


def count_wanted(
    config: Config, stages: Sequence[StagePlan]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count what is expected of each domain: real examples, new ones, and further rationales.

    The first way to fill the tail is expected to fill all of it.
    """
    real = Counter[str]()
    for stage in stages if config.teacher_explains else ():
        real.update(stage.head)
        real.update({domain: tail.real for domain, tail in stage.tail.items()})
    beyond, first = _beyond(stages), config.tail.fills[0]
    new = beyond if first == "synthesize" else Counter[str]()
    return +real, new, beyond if first == "rationales" else Counter[str]()


def _beyond(stages: Sequence[StagePlan]) -> Counter[str]:
    """Count the units of each domain that its real examples do not fill."""
    found = Counter[str]()
    for stage in stages:
        found.update({domain: tail.synthetic for domain, tail in stage.tail.items()})
    return +found


def _count_if_all_are_dropped(
    config: Config, stages: Sequence[StagePlan], counts: Mapping[str, int]
) -> tuple[Counter[str], Counter[str]]:
    """Count the real examples that may be tried at most, and what may be needed beyond them.

    The next candidate replaces a dropped example. In a domain whose candidates may have run out,
    the whole quota has to be filled in another way.
    """
    tried, beyond = Counter[str](), Counter[str]()
    for stage in stages:
        beyond.update({d: n for d, n in stage.quotas.items() if tried[d] + n > counts[d]})
        tried.update(candidate_counts(stage, config.selection.candidates_per_quota))
    return +Counter({d: min(n, counts[d]) for d, n in tried.items()}), +beyond


def estimate_usage(
    config: Config, calls: Sequence[PlannedCalls], lengths: PromptLengths
) -> tuple[Usage, Usage]:
    """Return what calls use, expected and at most, without regard to the caps."""
    expected, most = [], []
    for part in calls:
        tier = config.models_asked[part.tier]
        prompt = lengths.get((part.tier, part.purpose, part.domain), 0.0)
        longest, read = (_longest_response(config, part), part.longest_read) if lengths else (0, 0)
        half_read, half = read * _RESPONSE_SHARE, longest * _RESPONSE_SHARE
        expected.append(_used(tier, part.expected, prompt + half_read, half))
        most.append(_used(tier, part.at_most, prompt + read, longest))
    return _sum(expected), _sum(most)


def _longest_response(config: Config, part: PlannedCalls) -> int:
    tier = config.models_asked[part.tier]
    chosen = tier.synthesis if part.purpose == "synthesis" else tier.rationale
    return chosen.max_new_tokens


def _used(tier: TierConfig, calls: int, prompt: float, response: float) -> Usage:
    prices = tier.prices
    cost = prompt * prices.prompt_per_million + response * prices.completion_per_million
    return Usage(calls, calls * (prompt + response), calls * cost / 1e6)


def _sum(parts: Sequence[Usage]) -> Usage:
    return Usage(
        sum(part.calls for part in parts),
        sum(part.tokens for part in parts),
        sum(part.cost for part in parts),
    )
