"""The picture of macro against natural: every method is in it, and labels do not overlap."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text

from baldistill.report.figures.comparison import draw_comparison
from baldistill.report.figures.style import styled
from baldistill.report.figures.trade import trade


def comparison(num_methods: int) -> dict[str, Any]:
    rng = random.Random(1)

    def row(name: str, macro: float, natural: float, worst: float) -> dict[str, Any]:
        return {
            "method": name,
            "macro": {"mean": macro, "half": rng.uniform(0.005, 0.03)},
            "natural": {"mean": natural, "half": rng.uniform(0.005, 0.03)},
            "worst": {"mean": worst, "half": 0.05},
            "per_domain": {"sums": {"mean": macro, "half": None}},
        }

    rows = [row("zero-shot-cot", 0.0, 0.0, 0.0), row("random-ft-cot", 0.6, 0.917, 0.05)]
    rows += [
        row(f"baldistill-{n}", rng.gauss(0.855, 0.01), rng.gauss(0.92, 0.015), rng.random())
        for n in range(num_methods - 2)
    ]
    return {"rows": rows, "domains": ["sums"], "sizes": {"sums": 100}}


@pytest.mark.parametrize("num_methods", [5, 20])
def test_every_method_is_told_once_and_no_label_lies_on_another(num_methods: int) -> None:
    data = comparison(num_methods)
    with styled():
        figure = trade(data)
        canvas: Any = FigureCanvasAgg(figure)
        labels = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
        for label in labels:  # the text alone, without the line to its point
            label.update_positions(canvas.get_renderer())
        boxes = [Text.get_window_extent(label, canvas.get_renderer()) for label in labels]
    near = [row["method"] for row in data["rows"][2:]]
    assert [label.get_text() for label in labels] == near
    assert "zero-shot-cot (0.0, 0.0), random-ft-cot (60.0, 91.7)" in figure.get_supxlabel()
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(box.width > 40 for box in boxes)
    frame = figure.axes[0].get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_a_comparison_whose_corpus_has_no_domain_of_the_questions_has_no_such_picture() -> None:
    data = comparison(3)
    for row in data["rows"]:
        row["natural"] = {"mean": None, "half": None}
    assert [picture.name for picture in draw_comparison(data)] == ["comparison"]


@pytest.mark.parametrize("num_methods", [10, 11])
def test_many_methods_are_rows_with_numbers_instead_of_lines(num_methods: int) -> None:
    data = comparison(num_methods)
    data["rows"][3]["per_domain"]["sums"]["mean"] = None
    picture = draw_comparison(data)[0]
    for row in data["rows"]:
        assert picture.svg.count(f">{row['method']}<") == 1
    cells = picture.svg.count(">60<") - 1  # but for the tick of an axis
    assert cells == (2 if num_methods > 10 else 0), "macro and domain of random-ft-cot"
