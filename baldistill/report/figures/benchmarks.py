"""Draw public benchmarks before and after the distillation."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from baldistill.report.figures.palette import GREEN, GREY, ORANGE
from baldistill.report.figures.style import WIDTH, name_rows, short_name
from baldistill.run_folder.reader import RunFolder

_MOST_TASKS = 30
_APART = 0.13
_WHEN = ("before", "after")
_COLOURS = {"forgotten": ORANGE, "gained": GREEN}
_PREFERRED = ("acc_norm", "acc", "exact_match")


def shown(run: RunFolder) -> list[dict[str, Any]]:
    """Return one row of each task that is drawn: the metric that is quoted most often."""
    tasks: dict[str, dict[str, Any]] = {}
    for row in run.benchmarks:
        if not all(_is_share(row[name]) for name in _WHEN):
            continue
        known = tasks.get(row["task"])
        if known is None or _rank(row) < _rank(known):
            tasks[row["task"]] = row
    return list(tasks.values())[:_MOST_TASKS]


def _is_share(value: float | None) -> bool:
    return value is not None and 0.0 <= value <= 1.0


def _rank(row: dict[str, Any]) -> int:
    metric = row["metric"].partition(" ")[0]
    return _PREFERRED.index(metric) if metric in _PREFERRED else len(_PREFERRED)


def before_and_after(run: RunFolder) -> Figure:
    """Draw each task as a line from the figure before to the figure after."""
    rows = shown(run)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.32 * len(rows)))
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        colour = _COLOURS.get(row["verdict"], GREY)
        heights = [number - _APART, number + _APART]
        axes.plot([row["before"], row["after"]], heights, color=colour, lw=2.2, zorder=1)
        for name, filling, height in zip(_WHEN, ("white", colour), heights, strict=True):
            axes.errorbar(
                row[name],
                height,
                xerr=row[f"{name}_stderr"] or 0.0,
                color=colour,
                lw=0.9,
                fmt="o",
                ms=6,
                mfc=filling,
                zorder=2,
                clip_on=False,  # a circle at 0 or 1 is whole
            )
    name_rows(
        axes, [f"{short_name(row['task'], 40)} ({short_name(row['metric'], 24)})" for row in rows]
    )
    low = min(min(row["before"], row["after"]) for row in rows)
    high = max(max(row["before"], row["after"]) for row in rows)
    axes.set_xlim(max(0.0, low - 0.12), min(1.0, high + 0.12))
    axes.grid(axis="x")
    marks: dict[str, Any] = {"color": GREY, "ls": "", "marker": "o", "ms": 6}
    figure.legend(
        handles=[
            Line2D([], [], mfc="white", label="before", **marks),
            Line2D([], [], label="after", **marks),
        ],
        loc="outside right upper",
    )
    return figure
