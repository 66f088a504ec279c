"""Estimate what the teacher calls of a plan read and write.

There are two figures of each kind. *Expected*: every first answer is accepted (for a majority: the
first answers agree), a recording has every example, and a response is half as long as allowed.
*At most*: every allowed attempt of every teacher is needed for every example that may be tried, and
every response is as long as allowed. Quota that a dry domain gives to others, and requests that a
server fails, count in neither. Prompts are measured on a sample of the corpus, so both figures are
estimates. Only the caps of `budget` are never exceeded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeAlias

from baldistill.config import Config
from baldistill.config.teachers import TierConfig
from baldistill.core.ledger import Purpose
from baldistill.core.majority import quorum
from baldistill.generation.encoding import encode_prompt
from baldistill.generation.types import ModelRef, Prompt
from baldistill.method.plan import StagePlan
from baldistill.method.select import candidate_counts
from baldistill.records import transcript
from baldistill.teacher.prompts import PromptSet
from baldistill.teacher.rubric_judge import Rubric

_BYTES_PER_TOKEN = 4.0  # English prose under the tokenizers of large models
_RESPONSE_SHARE = 0.5  # expected length of a response, as a share of the longest

PromptLengths: TypeAlias = Mapping[tuple[int, Purpose, str], float]
"""Mean tokens of a prompt by tier (from 0), purpose and domain."""


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one kind to one teacher for one domain: expected, and at most."""

    tier: int
    purpose: Purpose
    domain: str
    expected: int
    at_most: int


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
    expected, most = Counter[str](), Counter[str]()
    for part in calls:
        real = part.purpose == "rationale"
        if part.purpose in ("rationale", "synthesis") and config.is_judged(part.domain, real=real):
            expected[part.domain] += part.expected
            most[part.domain] += part.at_most
    if "synthesize" in config.tail.fills:
        most.update({d: n for d, n in recorded.items() if config.is_judged(d)})
    trained = config.stages if config.budget.total else 0
    times = trained if config.evaluation.every_stage else min(trained, 1)
    times += config.evaluation.base_student or not trained
    times += config.evaluation.teacher
    for domain, count in evaluated.items():
        if config.is_judged(domain):
            expected[domain] += count * times
            most[domain] += count * times
    for domain, count in sorted(most.items()):
        judge = len(config.models_asked) - 1
        yield PlannedCalls(judge, "judgement", domain, expected[domain], 2 * count)


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
        chosen = tier.synthesis if part.purpose == "synthesis" else tier.rationale
        prompt = lengths.get((part.tier, part.purpose, part.domain), 0.0)
        longest = chosen.max_new_tokens if lengths else 0
        expected.append(_used(tier, part.expected, prompt, longest * _RESPONSE_SHARE))
        most.append(_used(tier, part.at_most, prompt, longest))
    return _sum(expected), _sum(most)


def prompt_lengths(
    config: Config,
    prompts: Sequence[PromptSet],
    calls: Sequence[PlannedCalls],
    sample: Mapping[str, Sequence[Mapping[str, Any]]],
    rubric: Rubric | None = None,
) -> PromptLengths:
    """Return the mean prompt tokens of the planned calls.

    They are measured on a sample: some examples (question, answer) of each domain. A judge is
    expected to read texts as long as the gold answers.
    """
    counters = [_token_counter(tier) for tier in config.models_asked]
    return {
        (part.tier, part.purpose, part.domain): fmean(
            counters[part.tier](prompt)
            for prompt in (
                _to_judge(rubric, sample.get(part.domain) or next(iter(sample.values())))
                if part.purpose == "judgement" and rubric is not None
                else _rendered(config, prompts[part.tier], part, sample[part.domain])
            )
        )
        for part in calls
    }


def _to_judge(rubric: Rubric, examples: Sequence[Mapping[str, Any]]) -> list[Prompt]:
    return [rubric.prompt(e["question"], e["answer"], e["answer"]) for e in examples]


def _rendered(
    config: Config, prompts: PromptSet, part: PlannedCalls, examples: Sequence[Mapping[str, Any]]
) -> list[Prompt]:
    domain = part.domain
    if part.purpose == "synthesis":
        shown = [
            {**example, "question": transcript(example.get("context"), example["question"])}
            for example in examples[: config.tail.demonstrations]
        ]
        structured = config.models_asked[part.tier].structured
        return [
            prompts.render("synthesis", domain=domain, demonstrations=shown, structured=structured)
        ]
    asked = [
        {"question": e["question"], "domain": domain, "context": e.get("context")} for e in examples
    ]
    if part.purpose != "rationale" or config.rationale.sees == "question":
        return [prompts.render("solve", **one) for one in asked]
    return [
        prompts.render("rationale", **one, answer=e["answer"])
        for one, e in zip(asked, examples, strict=True)
    ]


def _token_counter(tier: TierConfig) -> Callable[[Prompt], float]:
    """Count with the model's own tokenizer if it is on this machine, else by a rule of thumb."""
    if tier.kind in ("transformers", "vllm"):
        from transformers import AutoTokenizer  # heavy, and not needed by a sweep without a cap

        name = "bundled-teacher" if tier.model == "bundled" else tier.model
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                ModelRef(name).resolve(), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError):  # not on this machine, or no model: the run itself reports it
            return _rule_of_thumb
        variables = tier.chat_template_kwargs
        return lambda prompt: len(encode_prompt(tokenizer, prompt, variables))
    return _rule_of_thumb


def _rule_of_thumb(prompt: Prompt) -> float:
    texts = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    return sum(len(text.encode()) for text in texts) / _BYTES_PER_TOKEN


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
