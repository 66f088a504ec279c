"""What a plan's teacher calls will read and write: estimates from prompts, before any is made.

Two figures of each kind. *Expected*: every first answer is accepted, every example of a recording
is in it, and a response is half as long as it may be. *At most*: every allowed attempt of every
teacher is needed for every example that may be tried, and every response is as long as it may be;
quota that a dry domain gives to others, and requests that a server fails, are not in it. Prompts
are those of a sample of the corpus, so both are estimates; what is never passed is a cap of
`budget`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeAlias

from transformers import AutoTokenizer

from baldistill.config import Config
from baldistill.config.teachers import TierConfig
from baldistill.core.ledger import Purpose
from baldistill.generation.encoding import encode_prompt
from baldistill.generation.model_ref import ModelRef
from baldistill.generation.types import Prompt
from baldistill.method.plan import StagePlan
from baldistill.method.select import candidate_counts
from baldistill.teacher.prompts import PromptSet

_BYTES_PER_TOKEN = 4.0  # English prose under the tokenizers of large models
_RESPONSE_SHARE = 0.5  # of the longest response: the expected one

Lengths: TypeAlias = Mapping[tuple[int, Purpose, str], float]
"""Mean tokens of a prompt by tier (from 0), purpose and domain."""


@dataclass(frozen=True, slots=True)
class Work:
    """Calls of one kind to one teacher for one domain: expected, and at most."""

    tier: int
    purpose: Purpose
    domain: str
    expected: int
    at_most: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What calls use, all together.

    Attributes:
        calls: Teacher calls.
        tokens: Prompt and completion tokens; 0 where no prompts were looked at.
        cost: In the currency of the prices.
    """

    calls: float
    tokens: float
    cost: float

    def under(self, caps: Mapping[str, float]) -> Usage:
        """The same, each figure no more than its cap."""
        return replace(self, **{name: min(getattr(self, name), caps[name]) for name in caps})


def work(config: Config, stages: Sequence[StagePlan], counts: Mapping[str, int]) -> Iterator[Work]:
    """The calls that the stages' quotas need; a recorded teacher is never called.

    Args:
        config: The run.
        stages: Its plan.
        counts: Examples of each domain.
    """
    real, new = real_and_new(config, stages)
    most_real, most_new = real, new
    if config.student.target == "rationale" and config.rationale.on_mismatch == "drop":
        most_real, most_new = _if_all_are_dropped(config, stages, counts)
    writers = [i for i, tier in enumerate(config.teacher.tiers) if not tier.recorded]
    for tier in writers:
        for domain, count in sorted(most_real.items()):
            first = real[domain] if tier == 0 else 0
            yield Work(tier, "rationale", domain, first, count * config.rationale.max_attempts)
        for domain, count in sorted(most_new.items()):
            first = new[domain] if tier == writers[0] else 0
            most = math.ceil(count * config.tail.max_attempts_per_example)
            yield Work(tier, "synthesis", domain, first, most)
            if votes := config.tail.votes:
                yield Work(tier, "verification", domain, first * votes, most * votes)


def real_and_new(config: Config, stages: Sequence[StagePlan]) -> tuple[Counter[str], Counter[str]]:
    """Examples of each domain that a teacher explains, and that it writes."""
    real, new = Counter[str](), Counter[str]()
    for stage in stages:
        if config.student.target == "rationale":
            real.update(stage.head)
            real.update({domain: tail.real for domain, tail in stage.tail.items()})
        if config.tail.fill == "synthesize":
            new.update({domain: tail.synthetic for domain, tail in stage.tail.items()})
    return +real, +new


def _if_all_are_dropped(
    config: Config, stages: Sequence[StagePlan], counts: Mapping[str, int]
) -> tuple[Counter[str], Counter[str]]:
    """Real examples that may be tried at most, and new ones that may be wanted.

    A dropped example is replaced by the next candidate; where a domain's own may have run out, the
    teacher writes its whole quota.
    """
    tried, new = Counter[str](), Counter[str]()
    for stage in stages:
        if config.tail.fill == "synthesize":
            new.update({d: n for d, n in stage.quotas.items() if tried[d] + n > counts[d]})
        tried.update(candidate_counts(stage, config.selection.candidates_per_quota))
    return +Counter({d: min(n, counts[d]) for d, n in tried.items()}), +new


def usage(config: Config, calls: Sequence[Work], lengths: Lengths) -> tuple[Usage, Usage]:
    """What these calls use: expected, and at most. Not held under the caps."""
    expected, most = [], []
    for part in calls:
        tier = config.teacher.tiers[part.tier]
        chosen = tier.synthesis if part.purpose == "synthesis" else tier.rationale
        prompt = lengths.get((part.tier, part.purpose, part.domain), 0.0)
        longest = chosen.max_new_tokens if lengths else 0
        expected.append(_used(tier, part.expected, prompt, longest * _RESPONSE_SHARE))
        most.append(_used(tier, part.at_most, prompt, longest))
    return _sum(expected), _sum(most)


def prompt_lengths(
    config: Config,
    prompts: Sequence[PromptSet],
    calls: Sequence[Work],
    sample: Mapping[str, Sequence[Mapping[str, str]]],
) -> Lengths:
    """Mean prompt tokens of the planned calls.

    Args:
        config: The teachers, and how many demonstrations they are shown.
        prompts: Of each teacher.
        calls: What is planned.
        sample: Some examples (question, answer) of each domain.
    """
    counters = [_token_counter(tier) for tier in config.teacher.tiers]
    return {
        (part.tier, part.purpose, part.domain): fmean(
            counters[part.tier](prompt)
            for prompt in _rendered(config, prompts[part.tier], part, sample[part.domain])
        )
        for part in calls
    }


def _rendered(
    config: Config, prompts: PromptSet, part: Work, examples: Sequence[Mapping[str, str]]
) -> list[Prompt]:
    domain = part.domain
    if part.purpose == "synthesis":
        shown = examples[: config.tail.demonstrations]
        structured = config.teacher.tiers[part.tier].structured
        return [
            prompts.render("synthesis", domain=domain, demonstrations=shown, structured=structured)
        ]
    if part.purpose == "verification":
        return [prompts.render("solve", question=e["question"], domain=domain) for e in examples]
    return [
        prompts.render("rationale", question=e["question"], answer=e["answer"], domain=domain)
        for e in examples
    ]


def _token_counter(tier: TierConfig) -> Callable[[Prompt], float]:
    """The model's own tokenizer where it is on this machine, else a rule of thumb."""
    if tier.kind in ("transformers", "vllm"):
        name = "bundled-teacher" if tier.model == "bundled" else tier.model
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                ModelRef(name).resolve(), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError):  # not here yet, or no model: the run itself says so
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
