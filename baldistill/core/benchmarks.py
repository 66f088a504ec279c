"""Public benchmarks before and after: what a student forgot, and whether that can be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

Scores: TypeAlias = Mapping[tuple[str, str], Mapping[int, float]]
"""By task and metric: the score of each example, by its number."""
Verdict: TypeAlias = Literal["forgotten", "gained", "within noise"]

_CLEAR = 2.0  # standard errors: some 95 %
_SAME = 1e-6  # of a mean, in which order its values are added up


@dataclass(frozen=True, slots=True)
class BenchmarkFigure:
    """A figure of one model.

    Attributes:
        task: Name of the task or the group of tasks.
        metric: With the filter of the answers in brackets, where the task has one.
        value: None where lm-eval has no number.
        stderr: Its standard error; None where lm-eval gives none.
        num_examples: That were asked.
        num_fewshot: Solved examples in each prompt; None for a group of tasks that differ.
        higher_is_better: None where the task does not say.
    """

    task: str
    metric: str
    value: float | None
    stderr: float | None
    num_examples: int
    num_fewshot: int | None
    higher_is_better: bool | None


@dataclass(frozen=True, slots=True)
class BenchmarkChange:
    """A figure before and after a training.

    Attributes:
        task: As of `BenchmarkFigure`, and so the next four.
        before: Of the model before the training.
        before_stderr: Its standard error.
        after: Of the model after it; None where nothing was trained.
        after_stderr: Its standard error.
        difference: `after` less `before`.
        difference_stderr: Of the difference; by the differences of the single examples, where the
            figures are means over the same examples: that is less than of independent samples.
    """

    task: str
    metric: str
    num_examples: int
    num_fewshot: int | None
    higher_is_better: bool | None
    before: float | None
    before_stderr: float | None
    after: float | None = None
    after_stderr: float | None = None
    difference: float | None = None
    difference_stderr: float | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Return whether more than chance changed: two standard errors; None if nobody knows."""
        error = self.difference_stderr
        if self.difference is None or error is None or self.higher_is_better is None:
            return None
        if abs(self.difference) <= _CLEAR * error:
            return "within noise"
        return "gained" if (self.difference > 0) == self.higher_is_better else "forgotten"

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON values, with its verdict."""
        return asdict(self) | {"verdict": self.verdict}


def benchmark_changes(
    before: Sequence[BenchmarkFigure],
    after: Sequence[BenchmarkFigure],
    scores_before: Scores,
    scores_after: Scores,
) -> list[BenchmarkChange]:
    """Put figures before and after a training side by side, in the order of those before."""
    later = {(figure.task, figure.metric): figure for figure in after}
    changes = []
    for old in before:
        name = (old.task, old.metric)
        new = later.get(name)
        pair: dict[str, Any] = {}
        if new is not None:
            pair = {"after": new.value, "after_stderr": new.stderr}
            if old.value is not None and new.value is not None:
                pair["difference"] = new.value - old.value
                pair["difference_stderr"] = _difference_stderr(
                    old, new, scores_before.get(name, {}), scores_after.get(name, {})
                )
        changes.append(
            BenchmarkChange(
                old.task,
                old.metric,
                old.num_examples,
                old.num_fewshot,
                old.higher_is_better,
                old.value,
                old.stderr,
                **pair,
            )
        )
    return changes


def _difference_stderr(
    old: BenchmarkFigure,
    new: BenchmarkFigure,
    before: Mapping[int, float],
    after: Mapping[int, float],
) -> float | None:
    """Return the standard error of a difference: paired if both are means over the same examples.

    A paired one is the standard deviation of the examples' differences over the root of n.
    """
    numbers = sorted(before)
    if len(numbers) > 1 and numbers == sorted(after):
        first = np.array([before[number] for number in numbers])
        second = np.array([after[number] for number in numbers])
        if _is_mean(old.value, first) and _is_mean(new.value, second):
            return float((second - first).std(ddof=1) / math.sqrt(len(numbers)))
    if old.stderr is None or new.stderr is None:
        return None
    return math.hypot(old.stderr, new.stderr)


def _is_mean(value: float | None, scores: np.ndarray) -> bool:
    return value is not None and abs(float(scores.mean()) - value) <= _SAME * max(1.0, abs(value))
