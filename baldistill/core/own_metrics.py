"""Metrics of users: a figure of an evaluation, from the figures of its domains."""

from __future__ import annotations

import math
from collections.abc import Mapping

from baldistill.core.metrics import Metrics
from baldistill.core.own_parts import METRICS, OwnPartError, calling, make


def own_metrics(
    wanted: Mapping[str, str], metrics: Metrics, counts: Mapping[str, int]
) -> dict[str, float]:
    """Measure what users want measured.

    Args:
        wanted: Class of each metric, by the metric's name; see docs/own-parts.md.
        metrics: The evaluation.
        counts: Examples of each domain in the training corpus.

    Raises:
        OwnPartError: A class cannot be made or fails, or what it gives is no finite number.
    """
    scores = {domain: figure.score for domain, figure in metrics.per_domain.items()}
    sizes = {domain: counts.get(domain, 0) for domain in scores}
    figures = {}
    for name, kind in wanted.items():
        part = make(kind, {}, "measure", METRICS)
        with calling(kind, "measure"):
            value = part.measure(dict(scores), dict(sizes))
        try:
            figures[name] = float(value)
        except (TypeError, ValueError, OverflowError):
            figures[name] = math.nan
        if not math.isfinite(figures[name]):
            raise OwnPartError(f"{kind}: measure must return a finite number, not {value!r:.80}")
    return figures


def check_own_metrics(wanted: Mapping[str, str]) -> None:
    """Make each class once: a class that cannot be made fails before anything is paid.

    Raises:
        OwnPartError: As `own_metrics`.
    """
    for kind in wanted.values():
        make(kind, {}, "measure", METRICS)
