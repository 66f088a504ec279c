"""Compare what a preview cost with the plan's estimate, and correct the estimate by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from baldistill.commands.plan import sampled_rows
from baldistill.commands.plan_prompts import prompt_lengths
from baldistill.commands.plan_usage import (
    PlannedCalls,
    PromptLengths,
    Usage,
    estimate_usage,
    planned_calls,
)
from baldistill.config import Config
from baldistill.method.context import Context
from baldistill.method.plan import StagePlan

_OF_REAL, _OF_NEW = ("rationale", "vote"), ("synthesis", "verification")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The plan's own estimate, in two halves.

    Attributes:
        real: Of the answers about real examples.
        new: Of new examples, with the calls that verify them.
        per_call: Domain -> tokens of a call for a rationale.
    """

    real: Usage
    new: Usage
    per_call: Mapping[str, float]

    def ratio(self, domains: Mapping[str, int], calls: int, tokens: int) -> float | None:
        """Return the tokens of calls for rationales, as a share of what the plan estimates.

        Args:
            domains: Calls about each domain, with those of a judge: the domains' shares.
            calls: Made for rationales.
            tokens: Read and written by these.
        """
        known = {domain: n for domain, n in domains.items() if domain in self.per_call}
        estimated = sum(self.per_call[domain] * n for domain, n in known.items())
        if not estimated or not tokens:
            return None
        return tokens / (estimated / sum(known.values()) * calls)

    def scaled(self, ratio: float) -> dict[str, float]:
        """Return the calls, tokens and cost of new examples if theirs are as far off."""
        new = self.new
        return {"calls": new.calls, "tokens": new.tokens * ratio, "cost": new.cost * ratio}

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return both halves as JSON values."""
        return {"real": asdict(self.real), "new": asdict(self.new)}


def forecast(context: Context, stages: Sequence[StagePlan]) -> Forecast:
    """Return what `baldistill plan` estimates for the stages, without regard to the caps."""
    config, counts = context.config, context.corpus.counts
    calls = list(planned_calls(config, stages, counts, context.recorded, {}))
    calls = [part for part in calls if part.purpose in (*_OF_REAL, *_OF_NEW)]
    rows = sampled_rows(config, context.storage, counts)
    return by_halves(config, calls, prompt_lengths(config, context.teacher_prompts, calls, rows))


def by_halves(config: Config, calls: Sequence[PlannedCalls], lengths: PromptLengths) -> Forecast:
    """Return the estimate for calls whose prompts were measured."""
    real, new = (
        estimate_usage(config, [part for part in calls if part.purpose in purposes], lengths)[0]
        for purposes in (_OF_REAL, _OF_NEW)
    )
    one = {
        part.domain: estimate_usage(
            config, [PlannedCalls(0, "rationale", part.domain, 1, 1)], lengths
        )[0].tokens
        for part in calls
        if (part.tier, part.purpose) == (0, "rationale")
    }
    return Forecast(real, new, one)


def asked_for_rationales(spending: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number and the tokens of a ledger's calls that explain real examples."""
    groups = [one for name, one in spending["by_purpose"].items() if name in _OF_REAL]
    tokens = sum(one["prompt_tokens"] + one["completion_tokens"] for one in groups)
    return sum(one["calls"] for one in groups), tokens
