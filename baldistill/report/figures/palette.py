"""The colours of every figure: Okabe and Ito's, told apart with every kind of colour vision."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb
from matplotlib.typing import ColorType

BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
INK, GREY, SILVER, LIGHT = "#22262B", "#8A8F98", "#B5BAC2", "#D9DCE1"

HEAD, TAIL = BLUE, ORANGE
SOURCES = {"real": GREEN, "further": SKY, "synthetic": PINK, "repeated": SILVER}
PURPOSES = {
    "rationale": GREEN,
    "vote": ORANGE,
    "synthesis": PINK,
    "verification": SKY,
    "evaluation": BLUE,
    "question": SILVER,
    "judgement": SILVER,
    "domain": SILVER,
}
STEPS = {
    "corpus": ("corpus", SILVER),
    "scored": ("score candidates", SKY),
    "annotated": ("annotate (teacher)", PINK),
    "student": ("fine-tune", GREEN),
    "metrics": ("evaluate", ORANGE),
    "benchmarks": ("benchmarks", BLUE),
    "other": ("plan, select", LIGHT),
}
"""Label and colour of each step of a run."""
METHODS = (
    *("#bbbbbb", "#888888", "#bbaa33", "#cc7722", "#aa4499"),
    *("#44aa99", "#4477aa", "#117733", "#cc3311", "#332288"),
)
"""Lines of a comparison, in the order of its methods: more than Okabe and Ito's eight."""


def stage_colours(count: int) -> list[str]:
    """Return a colour for each of `count` stages, from light to dark."""
    colours = mpl.colormaps["viridis_r"]
    spread = (
        [0.15 + 0.8 * i / max(1, count - 1) for i in range(count)] if count > 1 else [0.75] * count
    )
    return [to_hex(colours(position)) for position in spread]


def ink_on(background: ColorType) -> str:
    """Return the colour of text that is readable on a background."""
    red, green, blue = to_rgb(background)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK
