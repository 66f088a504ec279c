"""The table of a run's evaluations says what it measures."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from baldistill.config import Task
from baldistill.core.label_metrics import metrics_of_responses
from baldistill.core.longtail import head_domains
from baldistill.method.evaluate import accuracy_table

COUNTS = {"earn": 70, "acq": 20, "ship": 10}
OWN = {name: name for name in COUNTS}


def metrics(task: Task) -> dict[str, Any]:
    table = pa.table(
        {
            "domain": ["earn", "earn", "acq", "ship"],
            "answer": ["earn", "earn", "acq", "ship"],
            "prediction": ["earn", "acq", "acq", None],
            "score": [1.0, 0.0, 1.0, 0.0],
        }
    )
    return metrics_of_responses(table, lambda _: task, OWN, COUNTS, head_domains(COUNTS)).to_dict()


def shown(stages: dict[str, dict[str, Any]]) -> tuple[str, dict[str, list[str]]]:
    """The title, and the cells of each row by its first."""
    table = accuracy_table(COUNTS, stages)
    columns = [list(column.cells) for column in table.columns]
    rows = [[str(cell) for cell in row] for row in zip(*columns, strict=True)]
    return str(table.title), {row[0]: row for row in rows}


@pytest.mark.parametrize(
    ("task", "title", "acq"),
    [
        ("classification", "F1 of the labels on the evaluation set", "0.667"),
        ("free_text", "accuracy on the evaluation set", "1.000"),
        ("qa", "word F1 on the evaluation set", "1.000"),
    ],
)
def test_the_title_is_the_metric(task: Task, title: str, acq: str) -> None:
    found, rows = shown({"base": metrics(task), "stage 1": metrics(task)})
    assert found == title
    assert rows["acq"] == ["acq", "20", acq, acq]
    assert list(rows)[:3] == ["earn", "acq", "ship"]  # largest first


def test_the_means_between_macro_and_natural_are_rows_with_titles() -> None:
    stage = metrics("classification") | {"own": {"entropy": 0.25}}
    _, rows = shown({"base": metrics("classification"), "stage 1": stage})
    titles = ["macro", "micro", "natural", "head", "tail", "worst"]
    assert list(rows)[3:] == [*titles, "entropy-weighted", "dodrans-weighted", "entropy"]
    for title, name in (("entropy-weighted", "entropy"), ("dodrans-weighted", "dodrans")):
        figure = f"{stage[name]:.3f}"
        assert rows[title] == [title, "", figure, figure]
    assert rows["entropy"][2:] == ["-", "0.250"], "a metric of the user's own"


def test_stages_that_measured_different_things_are_called_a_mix() -> None:
    title, _ = shown({"base": metrics("qa"), "stage 1": metrics("classification")})
    assert title == "accuracy, F1 or word F1 on the evaluation set"
