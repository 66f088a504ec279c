"""Draw how good the student became: by domain from head to tail, and by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from baldistill.report.figures.palette import GREEN, GREY, HEAD, INK, PINK, TAIL, stage_colours
from baldistill.report.figures.style import WIDTH, name_ticks, short_name, whole_stages
from baldistill.report.ranks import MOST_ROWS, rank_bins, spread
from baldistill.run_folder.reader import RunFolder

_MOST_LINES = 6


def by_domain(run: RunFolder) -> Figure:
    """Draw accuracy from the largest domain to the smallest, a line for each stage."""
    titles = list(run.evaluated)
    shown = [titles[i] for i in spread(len(titles), _MOST_LINES)]
    groups = _domain_groups(run)
    figure = Figure(figsize=(WIDTH, 3.9))
    axes = figure.add_subplot()
    num_head = _shade_head(axes, run, groups)
    colours = iter(stage_colours(sum(name != "base" for name in shown)))
    drawn: list[float] = []
    for name in shown:
        values = [_mean(run.evaluated[name]["per_domain"], group) for group in groups]
        drawn += values
        is_base = name == "base"
        axes.plot(
            range(len(groups)),
            values,
            color=GREY if is_base else next(colours),
            ls="--" if is_base else "-",
            lw=2.2 if name == titles[-1] and not is_base else 1.4,
            marker="o",
            ms=3.5,
            label=name,
        )
    _label_groups(axes, groups)
    axes.set_ylabel(run.measure)
    _from_zero(axes, drawn)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    if 0 < num_head < len(groups):
        above: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "bottom"}
        axes.text(num_head - 0.62, 1.01, "head", ha="right", fontsize=8.5, **above)
        axes.text(num_head - 0.38, 1.01, "tail", ha="left", fontsize=8.5, **above)
    figure.legend(loc="outside right upper")
    return figure


def _domain_groups(run: RunFolder) -> list[Sequence[str]]:
    """Return the evaluated domains one by one or, where they are many, by ranks of size."""
    evaluated = {name for metrics in run.evaluated.values() for name in metrics["per_domain"]}
    ordered = [name for name in run.counts if name in evaluated]
    ordered += sorted(evaluated - set(ordered))
    if len(ordered) <= MOST_ROWS:
        return [[name] for name in ordered]
    return rank_bins(ordered)


def _shade_head(axes: Axes, run: RunFolder, groups: list[Sequence[str]]) -> int:
    """Shade the head, and return the number of groups that begin in it."""
    count = sum(group[0] in run.head for group in groups)
    if 0 < count < len(groups):
        axes.axvspan(-0.6, count - 0.5, color=HEAD, alpha=0.07, lw=0)
    return count


def _label_groups(axes: Axes, groups: list[Sequence[str]]) -> None:
    if all(len(group) == 1 for group in groups):
        name_ticks(axes, [short_name(group[0], 20) for group in groups])
        axes.tick_params(axis="x", labelsize=8 if len(groups) <= 24 else 7)
        axes.set_xlabel("domain, largest first")
        return
    labels, rank = [], 1
    for group in groups:
        end = rank + len(group) - 1
        labels.append(f"{rank:,}" if end == rank else f"{rank:,}-{end:,}")
        rank = end + 1
    name_ticks(axes, labels)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("rank of the domain by size; a point is the mean of its domains")


def _mean(per_domain: Mapping[str, Any], group: Sequence[str]) -> float:
    scores = [per_domain[name]["score"] for name in group if name in per_domain]
    return sum(scores) / len(scores) if scores else float("nan")


_LINES = {
    "macro": (INK, "-", "o", 2.2),
    "micro": (GREEN, (0, (4, 2)), "s", 1.5),
    "natural": (GREY, (0, (1, 1.5)), "D", 1.5),
    "head": (HEAD, "-", "v", 1.5),
    "tail": (TAIL, "-", "^", 1.5),
    "worst": (PINK, (0, (1, 1)), "x", 1.2),
}


def by_stage(run: RunFolder) -> Figure:
    """Draw the figures of `TABLE_METRICS` after each stage."""
    stages = [stage for stage in run.stages if stage.metrics]
    places = [stage.stage for stage in stages]
    figure = Figure(figsize=(WIDTH, 3.1))
    axes = figure.add_subplot()
    last = stages[-1].metrics
    drawn: list[float] = []
    for name in sorted(_LINES, key=lambda name: -(last.get(name) or 0.0)):
        values = [s.metrics[name] for s in stages if s.metrics.get(name) is not None]
        if len(values) < len(stages):  # the corpus has no tail, or no question of it was asked
            continue
        drawn += values
        colour, dashes, marker, width = _LINES[name]
        axes.plot(
            places,
            values,
            color=colour,
            ls=dashes,
            marker=marker,
            ms=4 if len(places) <= 24 else 0,
            lw=width,
            label=f"{values[-1]:.3f}  {name}",
            zorder=3 if name == "macro" else 2.5,
        )
    whole_stages(axes, places[0], places[-1])
    if places[0] == 0 and places[-1] < 15:
        axes.set_xticks(places, ["base" if place == 0 else str(place) for place in places])
    axes.set_xlabel("after stage")
    axes.set_ylabel(run.measure)
    _from_zero(axes, drawn)
    after = f"stage {places[-1]}" if places[-1] else "no stage"
    if drawn:  # not where a cap refused all verdicts of a judge
        figure.legend(loc="outside right upper", title=f"after {after}")
    return figure


def _from_zero(axes: Axes, values: list[float]) -> None:
    """Draw the axis from 0 to 1, or to 0.5 or 0.2 where nothing is higher."""
    highest = max((value for value in values if value == value), default=1.0)
    top = next((limit for limit in (0.2, 0.5) if highest <= limit), 1.0)
    axes.set_ylim(-0.03 * top, 1.03 * top)
    axes.set_yticks([top * i / 5 for i in range(6)])
    axes.yaxis.set_major_formatter("{x:.2g}")
    axes.grid(axis="y")
