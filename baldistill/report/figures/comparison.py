"""Draw a comparison: accuracy per domain, a line or a row for each method; and the trade."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from baldistill.report.figures.palette import INK, METHODS
from baldistill.report.figures.style import WIDTH, Picture, name_ticks, short_name, styled
from baldistill.report.figures.trade import has_trade, trade

_MOST_LINES = 10
_MARKERS = "hos^vDPX*<>"


def draw_comparison(data: Mapping[str, Any]) -> list[Picture]:
    """Draw `comparison.json`: accuracy per domain from head to tail, and macro against natural."""
    measure = _measure(data)
    draw = _lines if len(data["rows"]) <= _MOST_LINES else _rows
    with styled():
        pictures = [
            Picture.of("comparison", f"{measure} per domain of each method", "", draw(data))
        ]
        if has_trade(data):
            title = f"macro against natural {measure} of each method"
            pictures.append(Picture.of("comparison-trade", title, "", trade(data)))
    return pictures


def _rows(data: Mapping[str, Any]) -> Figure:
    """Draw a heat map with numbers, whose first column is macro: many lines would be a tangle."""
    domains, rows = data["domains"], data["rows"]
    figures = [[row["macro"], *(row["per_domain"][d] for d in domains)] for row in rows]
    values = [
        [math.nan if (mean := one["mean"]) is None else 100 * mean for one in of_method]
        for of_method in figures
    ]
    size = (max(WIDTH, 0.5 * len(domains) + 2.6), 1.5 + 0.27 * len(rows))
    figure = Figure(figsize=size)
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for y, of_method in enumerate(values):
        for x, value in enumerate(of_method):
            if not math.isnan(value):
                ink = "white" if value < 60 else INK
                axes.text(x, y, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)
    axes.axvline(0.5, color="white", lw=3)
    sizes = [f"{short_name(name, 18)} ({data['sizes'][name]:,.0f})" for name in domains]
    name_ticks(axes, ["macro", *sizes])
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("domain and its examples in the corpus, from head to tail")
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01, label=f"{_measure(data)} (%)")
    return figure


def _measure(data: Mapping[str, Any]) -> str:
    return str(data.get("measure", "accuracy"))


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
    axes.set_ylabel(f"{_measure(data)} (%)")
    axes.set_ylim(-2, 102)
    axes.set_xlabel("domain and its examples in the corpus, from head to tail")
    axes.grid(axis="y")
    figure.legend(loc="outside right upper")
    return figure
