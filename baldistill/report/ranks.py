"""Choose which of many domains a figure shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

MOST_ROWS = 36
"""The most domains that are drawn by name."""


def both_ends(ordered: Sequence[str], most: int = MOST_ROWS) -> list[str | None]:
    """Return the largest and the smallest domains, with None for those between them.

    Args:
        ordered: Domains, largest first.
        most: Up to this number, all domains are returned.
    """
    if len(ordered) <= most:
        return list(ordered)
    half = most // 2
    return [*ordered[:half], None, *ordered[-half:]]


def rank_bins(ordered: Sequence[str], most: int = 24) -> list[Sequence[str]]:
    """Cut the domains into at most `most` runs of neighbouring ranks, nearly equal in length."""
    num_bins = min(most, len(ordered))
    edges = [round(i * len(ordered) / num_bins) for i in range(num_bins + 1)]
    return [ordered[start:end] for start, end in pairwise(edges)]


def spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of the numbers 0 .. count-1 evenly, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
