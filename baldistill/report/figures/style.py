"""How the figures look, and how one becomes SVG and PNG."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

WIDTH = 8.0
"""Inches; at the width of the page, 9 points are some 13 pixels."""

# Okabe and Ito's palette: told apart with every kind of colour vision.
HEAD, TAIL = "#0072B2", "#E69F00"
GREY, LIGHT, INK = "#8A8F98", "#D9DCE1", "#22262B"
SOURCES = {"real": "#009E73", "synthetic": "#CC79A7", "repeated": "#B5BAC2"}
PURPOSES = {"rationale": "#009E73", "synthesis": "#CC79A7", "verification": "#56B4E9"}

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a `$` in a domain's name is a `$`
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": LIGHT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text: searchable, and in any script the reader can show
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write figures in the page's style, whatever the user's own settings are."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    with mpl.rc_context(), warnings.catch_warnings():
        # a name in a script that the font lacks: boxes in the PNG, text in the SVG
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


def to_png(figure: Figure) -> bytes:
    """The figure for people who paste."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an SVG element that scales with the page.

    Args:
        figure: Drawn in `styled`.
        name: Makes the ids inside unique among the figures of a page, and always the same.
        description: What a screen reader says.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' id="[A-Za-z][A-Za-z0-9.]*_\d+"', "", text)  # groups: nothing refers to them
    text = re.sub(r'\s+(?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{description}"', 1).strip() + "\n"


def readable(text: str, longest: int | None = None) -> str:
    """Text that can be shown: no control or direction marks; one line and clipped if asked for.

    Args:
        text: Whatever the user's files hold.
        longest: Characters to keep; the whitespace becomes single spaces then.
    """
    if longest is not None:
        text = " ".join(text.split())
        text = text if len(text) <= longest else text[: longest - 1] + "…"
    return _UNSHOWABLE.sub("\ufffd", text)


def short_name(name: str, longest: int) -> str:
    """A domain's name for a figure: a long one loses its middle, as its end may tell it apart."""
    name = " ".join(readable(name).split())
    if len(name) <= longest:
        return name
    end = longest // 3
    return f"{name[: longest - 1 - end]}…{name[-end:]}"


# what XML does not allow, and marks that would turn the text around them
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def thousands(axes: Axes, which: str) -> None:
    """Write the numbers of an axis of counts: whole, and as 1,000."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def whole_stages(axes: Axes, first: int, last: int) -> None:
    """Ticks at whole stages, at most some fifteen of them."""
    if last - first < 15:
        axes.set_xticks(range(first, last + 1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlim(first - 0.6, last + 0.6)


def stage_colours(count: int) -> list[str]:
    """From light to dark, for stages in order."""
    colours = mpl.colormaps["viridis_r"]
    spread = [0.15 + 0.8 * i / max(1, count - 1) for i in range(count)] if count > 1 else [0.75]
    return [mpl.colors.to_hex(colours(position)) for position in spread]
