"""Draw the trade of a comparison: macro against natural, a point a method."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from baldistill.report.figures.labels import Box, place_labels
from baldistill.report.figures.palette import GREY, METHODS
from baldistill.report.figures.style import WIDTH
from baldistill.report.formats import percent

_FAR = 0.15  # below the median: a method that would press the others together
_NARROWEST = 6.0  # of an axis, in percent
_POINTS_PER_INCH = 72.0
_FONT = 8.0


def has_trade(data: Mapping[str, Any]) -> bool:
    """Tell whether some method has both figures."""
    return any(_place(row) is not None for row in data["rows"])


def trade(data: Mapping[str, Any]) -> Figure:
    """Draw macro against natural with their intervals; the size of a point is its worst domain."""
    measure = data.get("measure", "accuracy")
    near, far = _near_and_far([row for row in data["rows"] if _place(row) is not None])
    colours = {row["method"]: METHODS[i % len(METHODS)] for i, row in enumerate(data["rows"])}
    figure = Figure(figsize=(WIDTH, 5.4))
    axes = figure.subplots()
    for row in near:
        _draw_point(axes, row, colours[row["method"]])
    axes.margins(0.12)
    _widen(axes)
    axes.set_xlabel(f"macro {measure} (%): the mean over domains")
    axes.set_ylabel(f"natural {measure} (%): domains weighted by their size")
    axes.grid()
    _size_legend(figure)
    if far:
        names = ", ".join(
            f"{row['method']} ({percent(row['macro']['mean'])}, {percent(row['natural']['mean'])})"
            for row in far
        )
        figure.supxlabel(f"outside, macro and natural: {names}", fontsize=8, color=GREY, wrap=True)
    _label(figure, axes, near)
    return figure


def _place(row: Mapping[str, Any]) -> tuple[float, float] | None:
    macro, natural = row["macro"]["mean"], row["natural"]["mean"]
    return None if macro is None or natural is None else (macro, natural)


def _near_and_far(rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Split the methods into those that are drawn and those that are named below the picture."""
    limits = [
        statistics.median(row[name]["mean"] for row in rows) - _FAR for name in ("macro", "natural")
    ]
    near: list[Any] = []
    far: list[Any] = []
    for row in rows:
        is_near = row["macro"]["mean"] >= limits[0] and row["natural"]["mean"] >= limits[1]
        (near if is_near else far).append(row)
    return (near, far) if near else (list(rows), [])


def _area(worst: float | None) -> float:
    """Return the area of a point, in square points."""
    return 16.0 + 300.0 * (worst or 0.0)


def _draw_point(axes: Axes, row: Mapping[str, Any], colour: str) -> None:
    x, y = (100 * row[name]["mean"] for name in ("macro", "natural"))
    width, height = (100 * (row[name]["half"] or 0.0) for name in ("macro", "natural"))
    axes.errorbar(x, y, height, width, color=colour, lw=0.9, alpha=0.7, zorder=2)
    edge: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.8}
    axes.scatter(x, y, s=_area(row["worst"]["mean"]), color=colour, alpha=0.85, zorder=3, **edge)


def _widen(axes: Axes) -> None:
    """Give each axis at least some points of width: a tenth of a point should not look far."""
    for limits, set_limits in ((axes.get_xlim(), axes.set_xlim), (axes.get_ylim(), axes.set_ylim)):
        missing = max(0.0, _NARROWEST - (limits[1] - limits[0])) / 2
        set_limits(limits[0] - missing, limits[1] + missing)


def _size_legend(figure: Figure) -> None:
    circles = [
        Line2D(
            [],
            [],
            ls="",
            marker="o",
            color=GREY,
            ms=_area(share) ** 0.5,
            label=f"{100 * share:.0f}",
        )
        for share in (0.1, 0.4, 0.7, 1.0)
    ]
    figure.legend(
        handles=circles, loc="outside right upper", title="worst domain (%)", labelspacing=1.2
    )


def _label(figure: Figure, axes: Axes, rows: Sequence[Any]) -> None:
    """Write each method's name beside its point, with a line to it where it is not near.

    The layout is settled first: places are worked out in points of the finished picture.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    scale = _POINTS_PER_INCH / figure.dpi
    sizes = [_scaled(_extent(figure, row["method"]), scale) for row in rows]
    frame = _scaled(axes.get_window_extent(), scale)
    points, lines = [], []
    for row in rows:
        x, y = (100 * row[name]["mean"] for name in ("macro", "natural"))
        width, height = (100 * (row[name]["half"] or 0.0) for name in ("macro", "natural"))
        left, bottom = scale * axes.transData.transform((x - width, y - height))
        right, top = scale * axes.transData.transform((x + width, y + height))
        across, up = (left + right) / 2, (bottom + top) / 2
        radius = _area(row["worst"]["mean"]) ** 0.5 / 2
        points.append(Box(across - radius, up - radius, across + radius, up + radius))
        lines += [
            Box(left, up - 0.5, right, up + 0.5),
            Box(across - 0.5, bottom, across + 0.5, top),
        ]
    wanted = [(box.right - box.left + 2, box.top - box.bottom + 1) for box in sizes]
    places = place_labels(points, wanted, frame, lines)
    for row, point, place in zip(rows, points, places, strict=True):
        _write(axes, row, point, place)


def _extent(figure: Figure, text: str) -> Any:
    """Measure a text as it would be drawn."""
    written = figure.text(0, 0, text, fontsize=_FONT)
    canvas: Any = FigureCanvasAgg(figure)
    extent = written.get_window_extent(canvas.get_renderer())
    written.remove()
    return extent


def _write(axes: Axes, row: Mapping[str, Any], point: Box, place: Box) -> None:
    x, y = (point.left + point.right) / 2, (point.bottom + point.top) / 2
    offset = ((place.left + place.right) / 2 - x, (place.bottom + place.top) / 2 - y)
    axes.annotate(
        row["method"],
        (100 * row["macro"]["mean"], 100 * row["natural"]["mean"]),
        offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_FONT,
        zorder=4,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
        arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkA": 0, "shrinkB": 0},
    )


def _scaled(box: Any, scale: float) -> Box:
    return Box(*(scale * edge for edge in box.extents))
