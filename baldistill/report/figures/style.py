"""The style of every figure, names and axes in it, and the one way to save a figure."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from baldistill.report.figures.palette import GREY, INK, LIGHT
from baldistill.storage import Storage

WIDTH = 8.0
"""Width of a figure in inches: on the page, 9 points are then some 13 pixels."""

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a domain's name may hold a `$`
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
    """Draw and render figures in the page's style, whatever the user's own settings are."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    with mpl.rc_context(), warnings.catch_warnings():
        # the PNG has boxes for a name in a script that the font lacks; the SVG has the text
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure that was drawn, as SVG and as PNG.

    Attributes:
        name: Name of its files, without the ending.
        title: Heading, which a screen reader says too.
        caption: How to read it.
        svg: An SVG element that scales with the page.
        png: The same for people who paste.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes

    @classmethod
    def of(cls, name: str, title: str, caption: str, figure: Figure) -> Picture:
        """Render a figure; call this, and draw the figure, in `styled`."""
        svg, png = _svg(figure, name, title), io.BytesIO()
        figure.set_layout_engine("none")  # both have the layout that the SVG was given
        figure.set_dpi(160)
        canvas: Any = FigureCanvasAgg(figure)
        # It draws once. `savefig` would draw twice, to find a layout that the figure has.
        canvas.print_png(png, metadata={"Software": None})
        return cls(name, title, caption, svg, png.getvalue())

    def save(self, folder: Storage) -> list[str]:
        """Write the SVG and the PNG, and return the names of the files."""
        folder.write_bytes(f"{self.name}.png", self.png)
        folder.write_text(f"{self.name}.svg", self.svg)
        return [f"{self.name}.png", f"{self.name}.svg"]


def _svg(figure: Figure, name: str, description: str) -> str:
    """Render a figure as an SVG element that is the same every time.

    `name` makes the ids in the SVG unique among the figures of a page.
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
    """Replace control and direction marks, and cut the text if asked to.

    Args:
        text: Whatever the user's files hold.
        longest: Characters to keep of the text, which then becomes one line.
    """
    if longest is not None:
        text = " ".join(text.split())
        text = text if len(text) <= longest else text[: longest - 1] + "…"
    return _UNSHOWABLE.sub("\ufffd", text)


def short_name(name: str, longest: int) -> str:
    """Cut the middle out of a domain's name that is too long: its end may tell it apart."""
    name = " ".join(readable(name).split())
    if len(name) <= longest:
        return name
    end = longest // 3
    return f"{name[: longest - 1 - end]}…{name[-end:]}"


# characters that XML does not allow, and marks that turn the direction of the text around them
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def thousands(axes: Axes, which: str) -> None:
    """Write the numbers of an axis of counts whole, and with commas: 1,000."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def whole_stages(axes: Axes, first: int, last: int) -> None:
    """Put ticks at whole stages, some fifteen at most."""
    if last - first < 15:
        axes.set_xticks(range(first, last + 1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlim(first - 0.6, last + 0.6)


def name_ticks(axes: Axes, names: Sequence[str], rotation: int = 40) -> None:
    """Write names below the x axis, slanting so that long ones do not meet."""
    axes.set_xticks(range(len(names)), names, rotation=rotation, ha="right", rotation_mode="anchor")


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names beside the y axis, the first on top, for horizontal bars."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
