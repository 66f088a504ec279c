"""What a stage says."""

from __future__ import annotations

from baldistill.method.stage import describe_undefined


def test_candidates_without_a_score_are_told() -> None:
    line = describe_undefined({"undefined": 12, "scored": 3000, "candidates": 4000}, "ifd")
    assert line.startswith("12 of 3,000 candidates have no ifd ")
