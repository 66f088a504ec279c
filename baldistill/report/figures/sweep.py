"""Draw a sweep: score against each parameter, domains of the best trials, the trade-off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from baldistill.report.figures.palette import BLUE, GREY, INK, ORANGE
from baldistill.report.figures.style import WIDTH, Picture, name_ticks, short_name, styled
from baldistill.report.formats import percent

_BEST = 12
_MAP = "viridis"


def draw_sweep(data: Mapping[str, Any]) -> list[Picture]:
    """Draw all figures of `sweep.json`, in which some trial has a score."""
    figures = [
        ("sweep-parameters", "score against each parameter", _parameters),
        (
            "sweep-domains",
            f"{data.get('measure', 'accuracy')} per domain of the best trials",
            _domains,
        ),
        ("sweep-front", "the trade-off of the two metrics", _front),
    ]
    with styled():
        drawn = figures if len(data["metric"]) == 2 else figures[:2]
        return [Picture.of(name, title, "", draw(data)) for name, title, draw in drawn]


def _parameters(data: Mapping[str, Any]) -> Figure:
    """Draw the score against each parameter; a list that varies by stage as lines, too.

    Filled points and full lines are trials that ran to the end; hollow points and dotted lines
    are trials that were stopped early.
    """
    trials = _scored(data)
    lists = [key for key in trials[0]["values"] if _is_split(trials, key)]
    columns = _columns(trials)
    panels = len(lists) + len(columns)
    across = min(panels, 3)
    down = math.ceil(panels / across)
    figure = Figure(figsize=(WIDTH, 0.5 + 2.5 * down))
    grid = figure.subplots(down, across, squeeze=False)
    axes = list(grid.flat)
    colours = _colours(trials)
    for one, key in zip(axes, lists, strict=False):
        _draw_split(one, key, trials, colours, data["best"])
    for one, (title, values) in zip(axes[len(lists) :], columns.items(), strict=False):
        _draw_column(one, title, values, trials, data)
    for one in axes[panels:]:
        one.set_axis_off()
    label = f"{goal(data['metric'])} (%)"
    for number in range(len(lists), panels):
        if number % across == 0 or number == len(lists):
            axes[number].set_ylabel(label)
    if lists:
        figure.colorbar(colours, ax=axes, label=label, fraction=0.03, pad=0.01)
    return figure


def _domains(data: Mapping[str, Any]) -> Figure:
    """Draw accuracy per domain, head to tail, of the best trials, as a heat map with numbers."""
    rows = [trial for trial in _scored(data) if trial["standing"] == "done"][:_BEST]
    rows = rows or _scored(data)[:_BEST]
    domains = [d for d in data["domains"] if any(d in row["per_domain"] for row in rows)]
    values = [[100 * row["per_domain"].get(d, math.nan) for d in domains] for row in rows]
    figure = Figure(figsize=(max(WIDTH, 0.5 * len(domains) + 3.0), 1.6 + 0.32 * len(rows)))
    axes = figure.subplots()
    image = axes.imshow(values, cmap=_MAP, vmin=0, vmax=100, aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if not math.isnan(value):
                ink = "white" if value < 60 else INK
                axes.text(x, y, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)
    names = [f"{short_name(d, 16)} ({data['sizes'][d]:,})" for d in domains]
    name_ticks(axes, names)
    labels = [f"{row['name']}  {percent(row['score'])}" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    measure = data.get("measure", "accuracy")
    axes.set_title(f"{measure} (%) per domain, largest first; trials by {goal(data['metric'])}")
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    return figure


def _front(data: Mapping[str, Any]) -> Figure:
    """Draw the two metrics of every trial against each other, and the Pareto front."""
    trials = _scored(data)
    figure = Figure(figsize=(0.7 * WIDTH, 4.2))
    axes = figure.subplots()
    front = sorted(
        ([100 * s for s in t["scores"]], t["name"]) for t in trials if t["name"] in data["front"]
    )
    axes.plot([x for (x, _), _ in front], [y for (_, y), _ in front], color=ORANGE, zorder=1)
    for trial in trials:
        x, y = (100 * score for score in trial["scores"])
        on_front = trial["name"] in data["front"]
        axes.scatter(x, y, **_marker(trial, ORANGE if on_front else BLUE))
        axes.annotate(trial["name"], (x, y), (4, 4), textcoords="offset points", fontsize=7.5)
    axes.set_xlabel(f"{data['metric'][0]} (%)")
    axes.set_ylabel(f"{data['metric'][1]} (%)")
    axes.set_title("Pareto front (orange); hollow: stopped early")
    axes.grid()
    return figure


def _draw_split(
    axes: Axes, key: str, trials: Sequence[Any], colours: ScalarMappable, best: str | None
) -> None:
    """Draw a line for each trial over the stages, coloured by its score."""
    for trial in reversed(trials):
        values = trial["values"][key]
        is_best = trial["name"] == best
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=colours.to_rgba(100 * trial["score"]),
            linewidth=3.0 if is_best else 1.3,
            linestyle="-" if trial["standing"] == "done" else ":",
            marker="*" if is_best else None,
            markersize=10,
        )
    axes.set_title(f"{_short(key)} (star: best)")
    axes.set_xlabel("stage")
    axes.set_xticks(range(1, max(len(t["values"][key]) for t in trials) + 1))
    axes.grid(axis="y")


def _draw_column(
    axes: Axes, title: str, values: Sequence[Any], trials: Sequence[Any], data: Mapping[str, Any]
) -> None:
    """Draw the score against a number, or against named values in their order."""
    numeric = all(isinstance(value, int | float) for value in values)
    labels = [] if numeric else list(dict.fromkeys(values))
    positions = values if numeric else [labels.index(value) for value in values]
    for x, trial in zip(positions, trials, strict=True):
        colour = ORANGE if trial["name"] == data["best"] else BLUE
        axes.scatter(x, 100 * trial["score"], **_marker(trial, colour))
    if not numeric:
        name_ticks(axes, [short_name(label, 26) for label in labels], rotation=30)
        axes.margins(x=0.2)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(title)
    axes.grid(axis="y")


def _marker(trial: Mapping[str, Any], colour: str) -> dict[str, Any]:
    face, edge = (colour, colour) if trial["standing"] == "done" else ("white", GREY)
    return {"s": 34, "zorder": 2, "facecolors": face, "edgecolors": edge}


def _columns(trials: Sequence[Any]) -> dict[str, list[Any]]:
    """Return each trial's value for each panel, by title; a list has a panel for each stage."""
    columns: dict[str, list[Any]] = {}
    for key in trials[0]["values"]:
        values = [trial["values"][key] for trial in trials]
        if all(isinstance(value, list) for value in values):
            if all(len(set(value)) == 1 for value in values):
                columns[f"{_short(key)}, all stages"] = [value[0] for value in values]
            elif len({len(value) for value in values}) == 1:
                for stage in range(len(values[0])):
                    columns[f"{_short(key)}, stage {stage + 1}"] = [v[stage] for v in values]
        elif all(isinstance(value, int | float) for value in values):
            columns[_short(key)] = values
        else:
            columns[_short(key)] = [shown(value) for value in values]
    return columns


def _is_split(trials: Sequence[Any], key: str) -> bool:
    """Tell whether a parameter is a list that differs from stage to stage."""
    values = [trial["values"][key] for trial in trials]
    lists = all(isinstance(value, list) for value in values)
    return lists and any(len(set(value)) > 1 for value in values)


def _short(key: str) -> str:
    return ".".join(key.split(".")[-2:])


def _scored(data: Mapping[str, Any]) -> list[Any]:
    return [trial for trial in data["trials"] if trial["score"] is not None]


def _colours(trials: Sequence[Any]) -> ScalarMappable:
    scores = [100 * trial["score"] for trial in trials]
    return ScalarMappable(Normalize(min(scores), max(scores)), mpl.colormaps[_MAP])


def goal(metric: Sequence[str]) -> str:
    """Say in words what the trials are compared by."""
    return metric[0] if len(metric) == 1 else f"mean of {' and '.join(metric)}"


def shown(value: Any) -> str:
    """Write a parameter's value in few characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    if isinstance(value, Mapping):
        kind = [str(value["kind"])] if "kind" in value else []
        rest = [f"{key}={shown(item)}" for key, item in value.items() if key != "kind"]
        return " ".join(kind + rest)
    return "" if value is None else str(value)
