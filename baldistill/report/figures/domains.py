"""Draw how large the domains are, and what each was given."""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.path import Path

from baldistill.report.figures.palette import HEAD, INK, SOURCES, TAIL, ink_on
from baldistill.report.figures.style import WIDTH, name_rows, short_name, thousands, whole_stages
from baldistill.report.ranks import MOST_ROWS, both_ends, spread
from baldistill.run_folder.reader import RunFolder, StageFolder

_LONGEST_NAME = 24
_FLOOR = 0.7
"""Start of the bars on a log scale, so that a domain of one example has a bar, too."""
_CORNER = Path([(-0.5, -0.5), (-0.5, 0.3), (0.6, -0.5), (-0.5, -0.5)])


def sizes(run: RunFolder) -> Figure:
    """Draw the examples of each domain on a log scale, head and tail in two colours."""
    if len(run.counts) <= MOST_ROWS:
        return _sizes_by_name(run)
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.add_subplot()
    values = list(run.counts.values())
    boundary = len(run.head)
    for start, end, colour in ((0, boundary, HEAD), (boundary, len(values), TAIL)):
        steps = [i + 0.5 for i in range(start, end + 1)]
        axes.stairs(values[start:end], steps, baseline=_FLOOR, fill=True, color=colour)
    axes.set_yscale("log")
    axes.set_ylim(bottom=_FLOOR)
    thousands(axes, "y")
    thousands(axes, "x")
    axes.set_xlim(0, len(values) + 1)
    axes.set_xlabel("rank of the domain by size")
    axes.set_ylabel("examples in the corpus (log)")
    axes.grid(axis="y")
    axes.legend(handles=_head_and_tail(run), loc="upper right")
    return figure


def _sizes_by_name(run: RunFolder) -> Figure:
    names, values = list(run.counts), list(run.counts.values())
    figure = Figure(figsize=(WIDTH, 1.15 + 0.22 * len(names)))
    axes = figure.add_subplot()
    colours = [HEAD if name in run.head else TAIL for name in names]
    axes.barh(range(len(names)), values, left=0, height=0.72, color=colours)
    for row, value in enumerate(values):
        axes.text(max(value, _FLOOR) * 1.06, row, f"{value:,}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(_FLOOR, max(10, *values) * 2.2)
    thousands(axes, "x")
    _name_domains(axes, list(names))
    axes.set_xlabel("examples in the corpus (log)")
    figure.legend(handles=_head_and_tail(run), loc="outside lower right", ncols=2)
    return figure


def _head_and_tail(run: RunFolder) -> list[Patch]:
    """Make the legend: how many domains and examples are head, and how many are tail."""
    num_tail = len(run.counts) - len(run.head)
    held = sum(run.counts[name] for name in run.head) / max(1, sum(run.counts.values()))
    labels = ((HEAD, len(run.head), held), (TAIL, num_tail, 1 - held))
    return [
        Patch(color=colour, label=f"{name}: {_domains(count)}, {share:.0%} of the examples")
        for name, (colour, count, share) in zip(("head", "tail"), labels, strict=True)
        if count
    ]


def quotas(run: RunFolder) -> Figure:
    """Draw quotas by stage and domain as a heat map, and beside it what each domain got."""
    stages = [stage for stage in run.distilled if stage.plan]
    rows = both_ends(list(run.counts))
    columns = [stages[i] for i in spread(len(stages), 24)]
    figure = Figure(figsize=(WIDTH, 1.35 + 0.22 * len(rows)))
    share = min(0.62, 0.12 + 0.085 * len(columns))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[share, 1 - share])
    _heat_map(left, rows, columns)
    _annotated_rows(right, rows, stages)
    _name_domains(left, rows)
    right.tick_params(axis="y", left=False, labelleft=False)
    corner = Line2D([], [], marker=_CORNER, ms=8, ls="", color=TAIL, label="tail in that stage")
    handles: list[Artist] = [
        *([corner] if any(stage.plan["tail"] for stage in stages) else []),
        *(Patch(color=SOURCES[name], label=name) for name in _sources(stages)),
        Line2D([], [], marker="|", ls="", ms=9, mew=1.6, color=INK, label="sum of its quotas"),
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=5)
    return figure


def _heat_map(axes: Axes, rows: list[str | None], stages: list[StageFolder]) -> None:
    cells = [
        [float("nan") if name is None else stage.plan["quotas"].get(name, 0) for stage in stages]
        for name in rows
    ]
    highest = max((value for line in cells for value in line if value == value), default=1)
    colours = PowerNorm(0.5, 0, max(1, highest))
    edges = [i - 0.5 for i in range(len(stages) + 1)], [i - 0.5 for i in range(len(rows) + 1)]
    mesh = axes.pcolormesh(*edges, cells, cmap="Blues", norm=colours, edgecolor="white", lw=0.8)
    with_numbers = len(stages) <= 8
    for y, name in enumerate(rows):
        for x, stage in enumerate(stages if name is not None else ()):
            if name in stage.plan["tail"]:
                corner = [(x - 0.5, y + 0.5), (x - 0.5, y - 0.1), (x - 0.5 + 0.28, y + 0.5)]
                axes.add_patch(Polygon(corner, color=TAIL, lw=0))
            if with_numbers:
                value = cells[y][x]
                ink = ink_on(mesh.get_cmap()(float(colours(value))))
                axes.text(x, y, f"{value:,}", ha="center", va="center", fontsize=7.5, color=ink)
    axes.set_xticks(range(len(stages)), [str(stage.stage) for stage in stages])
    if len(stages) > 12:
        axes.set_xticks(
            spread(len(stages), 8), [str(stages[i].stage) for i in spread(len(stages), 8)]
        )
    axes.set_xlabel("stage")
    axes.set_title("quota")
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)


def _annotated_rows(axes: Axes, rows: list[str | None], stages: list[StageFolder]) -> None:
    """Draw each domain's annotated examples by source, and the sum of its quotas."""
    done = [stage for stage in stages if stage.annotation]
    starts = [0] * len(rows)
    for source in _sources(stages):
        widths = [
            0 if name is None else sum(s.sources.get(name, {}).get(source, 0) for s in done)
            for name in rows
        ]
        axes.barh(range(len(rows)), widths, left=starts, height=0.72, color=SOURCES[source])
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    quotas = [
        0 if name is None else sum(stage.plan["quotas"].get(name, 0) for stage in done)
        for name in rows
    ]
    for y, quota in enumerate(quotas):
        if quota:
            axes.plot([quota, quota], [y - 0.42, y + 0.42], color=INK, lw=1.4)
    axes.set_xlim(0, 1.03 * max(1, *starts, *quotas))
    thousands(axes, "x")
    axes.set_xlabel("annotated examples")
    axes.set_title(f"annotated in {len(done)} stage{'s' if len(done) != 1 else ''}")
    axes.grid(axis="x")


def annotated(run: RunFolder) -> Figure:
    """Draw each stage's annotated examples by source, against the stage's budget."""
    stages = [stage for stage in run.distilled if stage.plan]
    figure = Figure(figsize=(WIDTH, 2.8))
    axes = figure.add_subplot()
    places = [stage.stage for stage in stages]
    budgets = [stage.plan["budget"] for stage in stages]
    axes.bar(places, budgets, width=0.66, fill=False, edgecolor=INK, ls=(0, (3, 2)), lw=0.9)
    starts = [0] * len(stages)
    labels = [Patch(fill=False, edgecolor=INK, ls=(0, (3, 2)), label="the stage's budget")]
    for source in _sources(stages):
        heights = [stage.by_source.get(source, 0) for stage in stages]
        axes.bar(places, heights, bottom=starts, width=0.66, color=SOURCES[source])
        if len(stages) <= 10:
            for x, height, start in zip(places, heights, starts, strict=True):
                if height > 0.07 * max(budgets):
                    axes.text(
                        x, start + height / 2, f"{height:,}", ha="center", va="center", fontsize=8
                    )
        starts = [start + height for start, height in zip(starts, heights, strict=True)]
        labels.append(Patch(color=SOURCES[source], label=source))
    whole_stages(axes, 1, max(places))
    thousands(axes, "y")
    axes.set_xlabel("stage")
    axes.set_ylabel("examples")
    figure.legend(handles=labels, loc="outside right upper")
    return figure


def _sources(stages: list[StageFolder]) -> list[str]:
    return [name for name in SOURCES if any(name in stage.by_source for stage in stages)]


def _name_domains(axes: Axes, rows: list[str | None]) -> None:
    name_rows(axes, ["⋮" if name is None else short_name(name, _LONGEST_NAME) for name in rows])


def _domains(count: int) -> str:
    return "1 domain" if count == 1 else f"{count:,} domains"
