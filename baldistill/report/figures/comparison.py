"""Draw a comparison: accuracy per domain, a line for each method; and the trade."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from baldistill.report.figures.palette import METHODS
from baldistill.report.figures.style import WIDTH, Picture, name_ticks, short_name, styled
from baldistill.report.figures.trade import has_trade, trade

_MARKERS = "hos^vDPX*<>"


def draw_comparison(data: Mapping[str, Any]) -> list[Picture]:
    """Draw `comparison.json`: accuracy per domain from head to tail, and macro against natural."""
    measure = data.get("measure", "accuracy")
    with styled():
        pictures = [
            Picture.of("comparison", f"{measure} per domain of each method", "", _lines(data))
        ]
        if has_trade(data):
            title = f"macro against natural {measure} of each method"
            pictures.append(Picture.of("comparison-trade", title, "", trade(data)))
    return pictures


def _lines(data: Mapping[str, Any]) -> Figure:
    domains = data["domains"]
    figure = Figure(figsize=(max(WIDTH, 0.55 * len(domains) + 3.5), 4.6))
    axes = figure.subplots()
    for number, row in enumerate(data["rows"]):
        means = [row["per_domain"][domain]["mean"] for domain in domains]
        axes.plot(
            range(len(domains)),
            [math.nan if mean is None else 100 * mean for mean in means],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=2.2 if row["method"].startswith("baldistill") else 1.2,
            color=METHODS[number % len(METHODS)],
            label=row["method"],
        )
    name_ticks(axes, [f"{short_name(name, 18)} ({data['sizes'][name]:,.0f})" for name in domains])
    axes.set_ylabel(f"{data.get('measure', 'accuracy')} (%)")
    axes.set_ylim(-2, 102)
    axes.set_xlabel("domain and its examples in the corpus, from head to tail")
    axes.grid(axis="y")
    figure.legend(loc="outside right upper")
    return figure
