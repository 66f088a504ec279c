"""What an annotated row teaches by each target."""

from __future__ import annotations

import pytest

from baldistill.student.lessons import lesson_of
from baldistill.teacher.prompts import load_prompts

ROW = {
    "question": "2 + 3?",
    "domain": "sums",
    "answer": "5",
    "rationale": "2+3=5.",
    "context": None,
}
PROMPTS = load_prompts("compact", model="bundled")


@pytest.mark.parametrize(
    ("target", "changes", "lessons"),
    [
        ("rationale", {}, [("Question: 2 + 3?\n", "2+3=5.\nAnswer: 5")]),
        ("label", {"rationale": None}, [("Question: 2 + 3?\n", "Answer: 5")]),
        ("both", {}, [("Predict: 2 + 3?\n", "Answer: 5"), ("Explain: 2 + 3?\n", "2+3=5.")]),
        ("both", {"rationale": None}, [("Predict: 2 + 3?\n", "Answer: 5")]),
    ],
)
def test_a_row_teaches(
    target: str, changes: dict[str, object], lessons: list[tuple[str, str]]
) -> None:
    assert lesson_of(ROW | changes, PROMPTS.for_target(target), target).pairs == lessons
