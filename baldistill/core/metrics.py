"""How good a student is: per domain, and over domains and examples.

Source: BalDistill (arXiv 2406.13114), section 4: macro is the mean over domains, micro the mean
over examples. Accuracy for multiple choice and math, F1 for classification, word-level F1 for
abstractive question answering.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.core.longtail import DomainCounts, head_domains

Metric: TypeAlias = Literal["accuracy", "f1", "word_f1", "mixed"]
Column: TypeAlias = pa.Array | pa.ChunkedArray | npt.NDArray[Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class DomainScore:
    """A student's figure in one domain.

    Attributes:
        score: Accuracy or F1, in [0, 1].
        count: Evaluation examples it was measured on.
    """

    score: float
    count: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """A student's figures, all in [0, 1].

    Attributes:
        metric: What the figures are: accuracy, f1 (of labels), word_f1, or mixed.
        macro: Mean over domains.
        micro: Mean over evaluation examples.
        head: Mean over the head domains of the corpus; None without any, or without a corpus.
        tail: Mean over the other domains; None without any, or without a corpus.
        natural: Mean over domains weighted by n_d / N of the corpus: the micro figure under the
            corpus's own distribution, however the evaluation set was balanced. None without a
            corpus.
        accuracy: Share of right answers (mean word F1 for `qa`), whatever the metric is.
        per_domain: Each domain's figure, in order of name.
    """

    metric: Metric
    macro: float
    micro: float
    head: float | None
    tail: float | None
    natural: float | None
    accuracy: float
    per_domain: dict[str, DomainScore]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON-ready dictionary."""
        return {
            "macro": self.macro,
            "micro": self.micro,
            "head": self.head,
            "tail": self.tail,
            "natural": self.natural,
            "metric": self.metric,
            "accuracy": self.accuracy,
            "per_domain": {
                domain: {"score": figure.score, "count": figure.count}
                for domain, figure in self.per_domain.items()
            },
        }


def metrics_from_scores(
    domains: Column,
    scores: Column,
    counts: DomainCounts | None = None,
    head: Collection[str] | None = None,
) -> Metrics:
    """Return the figures of examples that were scored one by one.

    Args:
        domains: Domain of each evaluation example, shape (num_examples,).
        scores: Its score: right or wrong (boolean), or word F1 in [0, 1], same shape.
        counts: Examples per domain of the training corpus; head, tail and natural come from it.
            A domain that is not in it counts as tail.
        head: The head domains; not given, `head_domains(counts)`.

    Raises:
        ValueError: There are no examples, the lengths differ, or a value is missing.
    """
    names, group, values = _grouped(domains, scores)
    sizes = np.bincount(group, minlength=len(names))
    means = np.bincount(group, weights=values, minlength=len(names)) / sizes
    per_domain = {
        name: DomainScore(float(mean), int(size))
        for name, mean, size in zip(names, means, sizes, strict=True)
    }
    return over_domains("accuracy", per_domain, float(values.mean()), counts, head)


def over_domains(
    metric: Metric,
    per_domain: dict[str, DomainScore],
    micro: float,
    counts: DomainCounts | None,
    head: Collection[str] | None,
) -> Metrics:
    """Return the means over domains of figures that are known by domain.

    Args:
        metric: What the figures are.
        per_domain: Figure of each domain.
        micro: Mean over the evaluation examples; for all tasks it is also the accuracy, for the
            F1 over all single-label decisions is the share of right ones.
        counts: As `metrics_from_scores`.
        head: As `metrics_from_scores`.
    """
    if head is None:
        head = frozenset() if counts is None else head_domains(counts)
    split = counts is not None or bool(head)
    weights = {name: counts.get(name, 0) for name in per_domain} if counts else {}
    macro = _mean([figure.score for figure in per_domain.values()])
    assert macro is not None
    return Metrics(
        metric=metric,
        macro=macro,
        micro=micro,
        head=_mean([figure.score for name, figure in per_domain.items() if name in head]),
        tail=_mean(
            [figure.score for name, figure in per_domain.items() if split and name not in head]
        ),
        natural=_weighted_mean(per_domain, weights),
        accuracy=micro,
        per_domain=per_domain,
    )


def _weighted_mean(
    per_domain: Mapping[str, DomainScore], weights: Mapping[str, int]
) -> float | None:
    whole = sum(weights.values())
    if whole == 0:
        return None
    return sum(weights[name] * figure.score for name, figure in per_domain.items()) / whole


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _grouped(
    domains: Column, scores: Column
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the domains in order of name, and each example's domain number and score."""
    column = pa.chunked_array([domains]) if isinstance(domains, pa.Array) else domains
    if not isinstance(column, pa.ChunkedArray):
        column = pa.chunked_array([pa.array(column)])
    values = scores if isinstance(scores, pa.Array | pa.ChunkedArray) else pa.array(scores)
    _check_lengths(len(column), len(values))
    numbers = values.cast(pa.float64())
    if column.null_count or numbers.null_count or pc.any(pc.is_nan(numbers)).as_py():
        raise ValueError(
            "every evaluation example needs a domain and a score; a missing answer is 0"
        )
    names = sorted(pc.unique(column).to_pylist())
    group = pc.index_in(column, pa.array(names, column.type)).to_numpy()
    return names, group.astype(np.int64), np.asarray(numbers, dtype=np.float64)


def _check_lengths(num_domains: int, num_scores: int) -> None:
    if num_domains != num_scores:
        raise ValueError(f"{num_domains} examples but {num_scores} predictions or scores")
    if num_domains == 0:
        raise ValueError("there are no evaluation examples to measure on")
