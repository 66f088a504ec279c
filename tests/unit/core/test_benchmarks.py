"""What changed on public benchmarks, and whether it can be chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from baldistill.core.benchmarks import BenchmarkChange, BenchmarkFigure, benchmark_changes


def figure(value: float | None, stderr: float | None = 0.1, metric: str = "acc") -> BenchmarkFigure:
    return BenchmarkFigure("sums", metric, value, stderr, 4, 0, True)


def change(old: float, new: float, *scores: list[float]) -> BenchmarkChange:
    name = ("sums", "acc")
    numbered = [{name: dict(enumerate(values))} for values in scores] or [{}, {}]
    (found,) = benchmark_changes([figure(old)], [figure(new)], *numbered)
    return found


def test_the_error_of_a_difference_goes_by_the_same_examples() -> None:
    before, after = [1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0]
    found = change(0.75, 0.5, before, after)
    assert found.difference == pytest.approx(-0.25)
    expected = np.std(np.subtract(after, before), ddof=1) / math.sqrt(4)
    assert found.difference_stderr == pytest.approx(expected)
    assert found.verdict == "within noise"
    unpaired = math.hypot(0.1, 0.1)
    assert change(0.75, 0.5).difference_stderr == pytest.approx(unpaired)
    others = change(0.75, 0.5, before, [*after, 1.0])
    assert others.difference_stderr == pytest.approx(unpaired), "other examples"
    no_mean = change(3.5, 3.0, before, after)
    assert no_mean.difference_stderr == pytest.approx(unpaired), "a figure that is no mean"


@pytest.mark.parametrize(
    ("difference", "higher_is_better", "verdict"),
    [
        (-0.3, True, "forgotten"),
        (0.3, True, "gained"),
        (0.3, False, "forgotten"),
        (-0.3, False, "gained"),
        (0.1, True, "within noise"),
        (0.3, None, None),
        (None, True, None),
    ],
)
def test_only_a_clear_change_has_a_verdict(
    difference: float | None, higher_is_better: bool | None, verdict: str | None
) -> None:
    values = {"difference": difference, "difference_stderr": 0.1}
    found = BenchmarkChange("sums", "acc", 9, 0, higher_is_better, 0.5, 0.1, **values)
    assert found.verdict == verdict
    assert found.to_dict()["verdict"] == verdict


def test_students_that_answer_alike_forgot_nothing() -> None:
    found = change(0.5, 0.5, [1.0, 0.0], [1.0, 0.0])
    assert (found.difference, found.difference_stderr) == (0.0, 0.0)
    assert found.verdict == "within noise"


def test_what_was_asked_only_once_has_no_difference() -> None:
    (alone,) = benchmark_changes([figure(0.5)], [], {}, {})
    assert (alone.before, alone.after, alone.difference) == (0.5, None, None)
    (other,) = benchmark_changes([figure(0.5)], [figure(0.5, metric="f1")], {}, {})
    assert other.after is None
    (unknown,) = benchmark_changes([figure(None)], [figure(0.5)], {}, {})
    assert (unknown.after, unknown.difference, unknown.verdict) == (0.5, None, None)
