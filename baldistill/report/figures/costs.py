"""Draw what the run cost: budget, calls and tokens of the teacher, training, time."""

from __future__ import annotations

from collections import Counter

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from baldistill.report.figures.palette import (
    BLUE,
    GREY,
    LIGHT,
    PURPOSES,
    SILVER,
    STEPS,
    ink_on,
    stage_colours,
)
from baldistill.report.figures.style import WIDTH, name_rows, readable, thousands, whole_stages
from baldistill.run_folder.reader import RunFolder, title
from baldistill.run_folder.spending import Spending

_MOST_STAGES = 12
_MOST_REASONS = 8


def spending(run: RunFolder, spent: Spending) -> Figure:
    """Draw units of B, calls and tokens by stage, rejected answers by reason, and the caps."""
    reasons, caps = _reasons(spent), _caps(spent)
    heights = [0.42, 1.9, 0.35 + 0.2 * max(1, len(reasons))]
    heights += [0.26 * len(caps)] if caps else []
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.5 + 0.4 * bool(caps)))
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    _units(figure.add_subplot(grid[0, :]), run)
    _calls(figure.add_subplot(grid[1, 0]), spent)
    _tokens(figure.add_subplot(grid[1, 1]), spent)
    _rejections(figure.add_subplot(grid[2, :]), reasons)
    if caps:
        _cap_bars(figure.add_subplot(grid[3, :]), caps)
    return figure


def _caps(spent: Spending) -> list[tuple[str, float, float, float]]:
    """Return name, limit, spent and held amount of each cap that is set beside B."""
    total, limits = spent.total, spent.summary.caps
    tokens = float(total.prompt_tokens + total.completion_tokens)
    figures = [
        ("calls", limits.calls, float(total.calls), 0.0),
        ("tokens", limits.tokens, tokens, float(total.held_tokens)),
        ("cost", limits.cost, total.cost, total.held_cost),
    ]
    return [(name, float(cap), used, held) for name, cap, used, held in figures if cap is not None]


def _cap_bars(axes: Axes, caps: list[tuple[str, float, float, float]]) -> None:
    """Draw how much of each cap is spent, or held by calls without an answer."""
    for row, (_, limit, used, held) in enumerate(caps):
        axes.barh([row], [1.0], color=LIGHT, height=0.7)
        axes.barh([row], [used / limit], color=BLUE, height=0.7)
        axes.barh([row], [held / limit], left=used / limit, color=GREY, height=0.7)
        text = f"{used:,.6g} of {limit:,.6g}" + (f", {held:,.4g} held" if held else "")
        axes.text(1.01, row, text, va="center", fontsize=8)
    held = any(held for *_, held in caps)
    axes.set_title("caps" + " (grey: held by calls without an answer)" * held)
    axes.set_yticks(range(len(caps)), [name for name, *_ in caps])
    axes.set_ylim(len(caps) - 0.5, -0.5)
    axes.set_xlim(0, 1.35)  # room for the figures
    axes.set_xticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _units(axes: Axes, run: RunFolder) -> None:
    """Draw the budget as a bar that the stages fill."""
    axes.barh([0], [run.budget], color=LIGHT, height=0.8)
    start = 0
    stages = [stage for stage in run.distilled if stage.annotation]
    for stage, colour in zip(stages, stage_colours(len(stages)), strict=True):
        count = stage.annotation["annotated"]
        axes.barh([0], [count], left=start, color=colour, height=0.8, edgecolor="white", lw=0.5)
        if count > 0.1 * run.budget:
            label = f"{title(stage.stage)}: {count:,}"
            ink = ink_on(colour)
            axes.text(start + count / 2, 0, label, ha="center", va="center", fontsize=8, color=ink)
        start += count
    axes.set_title(f"annotated examples: {start:,} of the budget's {run.budget:,}")
    axes.set_xlim(0, max(run.budget, start, 1))
    thousands(axes, "x")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _calls(axes: Axes, spent: Spending) -> None:
    stages = list(spent.calls)
    starts = [0] * len(stages)
    labels = []
    for purpose, colour in PURPOSES.items():
        heights = [spent.calls[stage][purpose] for stage in stages]
        if any(heights):
            axes.bar(stages, heights, bottom=starts, width=0.66, color=colour)
            labels.append(Patch(color=colour, label=purpose))
        starts = [start + height for start, height in zip(starts, heights, strict=True)]
    _stage_axis(axes, stages, max(starts, default=0))
    axes.set_title("teacher calls by stage")
    if labels:
        axes.legend(handles=labels, loc="upper left", ncols=2, borderaxespad=0.1)


def _tokens(axes: Axes, spent: Spending) -> None:
    stages = list(spent.by_stage)
    prompt = [figures.prompt_tokens for figures in spent.by_stage.values()]
    written = [figures.completion_tokens for figures in spent.by_stage.values()]
    axes.bar(stages, prompt, width=0.66, color=SILVER, label="prompt")
    axes.bar(stages, written, bottom=prompt, width=0.66, color=BLUE, label="completion")
    _stage_axis(axes, stages, max(p + w for p, w in zip(prompt, written, strict=True)))
    axes.set_title("teacher tokens by stage")
    axes.legend(loc="upper left", ncols=2, borderaxespad=0.1)


def _stage_axis(axes: Axes, stages: list[int], highest: int) -> None:
    whole_stages(axes, min(stages), max(stages))
    thousands(axes, "y")
    axes.set_ylim(0, max(1, highest) * 1.28)  # room for the legend
    axes.set_xlabel("stage")
    axes.grid(axis="y")


def _reasons(spent: Spending) -> list[tuple[str, int]]:
    """Count rejected answers by reason, most frequent first, the rare reasons together."""
    ordered = Counter(spent.total.rejected).most_common()
    frequent, rest = ordered[:_MOST_REASONS], ordered[_MOST_REASONS:]
    return frequent + ([("other reasons", sum(count for _, count in rest))] if rest else [])


def _rejections(axes: Axes, reasons: list[tuple[str, int]]) -> None:
    axes.set_title("rejected answers by reason")
    if not reasons:
        axes.text(0, 0.5, "none", transform=axes.transAxes, va="center")
        axes.set_axis_off()
        return
    counts = [count for _, count in reasons]
    axes.barh(range(len(reasons)), counts, height=0.68, color=GREY)
    for row, count in enumerate(counts):
        axes.text(count + 0.008 * max(counts), row, f"{count:,}", va="center", fontsize=8)
    name_rows(axes, [readable(reason, 32) for reason, _ in reasons])
    axes.set_xlim(0, max(counts) * 1.1)
    thousands(axes, "x")
    axes.set_xlabel("answers")


def losses(run: RunFolder) -> Figure:
    """Draw the training loss, the stages one after the other."""
    stages = [stage for stage in run.distilled if stage.training]
    figure = Figure(figsize=(WIDTH, 2.7))
    axes = figure.add_subplot()
    start, highest = 0, 0.0
    for stage, colour in zip(stages, stage_colours(len(stages)), strict=True):
        points = stage.training.get("losses", [])
        values = [loss for _, loss in points]
        steps = [start + step for step, _ in points]
        axes.plot(steps, values, color=colour, lw=1.3, marker="o" if len(points) < 4 else "", ms=3)
        highest = max(highest, *values, 0.0)
        end = start + stage.training["num_steps"]
        if len(stages) <= 10:
            above = axes.get_xaxis_transform()
            name = title(stage.stage)
            axes.text((start + end) / 2, 1.02, name, transform=above, ha="center", fontsize=8)
        if stage is not stages[-1]:
            axes.axvline(end, color=LIGHT, lw=1)
        start = end
    axes.set_xlim(0, start + 1)
    axes.set_ylim(0, (highest or 1.0) * 1.05)
    thousands(axes, "x")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("training loss (nats per token)")
    axes.grid(axis="y")
    return figure


def times(run: RunFolder) -> Figure:
    """Draw the time of each step: a bar for the corpus, the base student and each stage."""
    bars: dict[str, dict[str, float]] = {"corpus": {"corpus": run.corpus_seconds}}
    for stage in run.stages:
        bars[title(stage.stage)] = _by_step(stage.seconds)
    if len(run.distilled) > _MOST_STAGES:
        together: dict[str, float] = {}
        for bar in bars.values():
            together = {step: together.get(step, 0.0) + bar.get(step, 0.0) for step in STEPS}
        bars = {f"all {len(run.distilled)} stages": together}
    unit, name = _unit(max(sum(bar.values()) for bar in bars.values()))
    figure = Figure(figsize=(WIDTH, 1.3 + 0.25 * len(bars)))
    axes = figure.add_subplot()
    rows, starts, labels = range(len(bars)), [0.0] * len(bars), []
    for step, (label, colour) in STEPS.items():
        widths = [bar.get(step, 0.0) / unit for bar in bars.values()]
        if any(widths):
            axes.barh(rows, widths, left=starts, height=0.7, color=colour)
            if max(widths) * unit > 0.005 * run.seconds:
                labels.append(Patch(color=colour, label=label))
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for row, total in zip(rows, starts, strict=True):
        axes.text(total + 0.008 * max(starts), row, f"{total:,.1f}", va="center", fontsize=8)
    name_rows(axes, list(bars))
    axes.set_xlim(0, max(starts) * 1.1 or 1)
    axes.set_xlabel(name)
    figure.legend(handles=labels, loc="outside lower center", ncols=6)
    return figure


def _by_step(seconds: dict[str, float]) -> dict[str, float]:
    """Add up the steps that have no colour of their own."""
    sums: dict[str, float] = {}
    for step, value in seconds.items():
        name = step if step in STEPS else "other"
        sums[name] = sums.get(name, 0.0) + value
    return sums


def _unit(longest: float) -> tuple[float, str]:
    for unit, name in ((3600.0, "hours"), (60.0, "minutes")):
        if longest >= 5 * unit:
            return unit, name
    return 1.0, "seconds"
