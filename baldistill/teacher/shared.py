"""What runs that share a store of answers spare each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from baldistill.config.teachers import TierConfig


def from_other_runs(summary: Mapping[str, Any], tiers: Sequence[TierConfig]) -> int:
    """Answers of a run that another one had paid for.

    What a recording answers is free in every run: the ledger has it as reused, too.

    Args:
        summary: Of the run's ledger, as JSON values.
        tiers: The run's teachers.
    """
    recorded = {str(number) for number, tier in enumerate(tiers, start=1) if tier.recorded}
    by_tier = summary["by_tier"].items()
    return sum(int(figures["reused"]) for tier, figures in by_tier if tier not in recorded)
