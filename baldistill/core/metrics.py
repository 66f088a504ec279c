"""Measure how good a student is: per domain, and over domains and examples.

Source: BalDistill (arXiv 2406.13114), section 4: macro is the mean over domains, micro the mean
over examples. Accuracy for multiple choice and math, F1 for classification, word-level F1 for
abstractive question answering.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.core.longtail import DomainCounts, Weighting, domain_weights

Metric: TypeAlias = Literal["accuracy", "f1", "word_f1", "judged", "mixed"]


def against_teacher(measure: str) -> str:
    """Return what a measure is called where the teacher's answers stand in for gold ones."""
    if measure == "accuracy":
        return "agreement with the teacher"
    return f"{measure} against the teacher"


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
        macro: Mean over domains. It, `micro`, `worst` and `accuracy` are None where no answer
            counts: a cap refused the judge all verdicts.
        micro: Mean over evaluation examples.
        head: Mean over the head domains of the corpus; None without any.
        tail: Mean over the other domains; None without any.
        natural: Mean over domains weighted by n_d / N of the corpus: the micro figure under the
            corpus's own distribution, however the evaluation set was balanced. None where the
            corpus has none of the domains.
        worst: That of the domain where it is lowest.
        entropy: Mean over domains weighted by -n_d log(n_d / N), which lies between macro and
            natural (Harbecke et al. 2022).
        dodrans: Mean over domains weighted by n_d^(3/4), nearer to natural. It and the one
            before are None where natural is. Folders of earlier versions have none of the three.
        metric: The kind of the figures: accuracy, f1 (of labels), word_f1, judged (the share that
            a judge accepts), or mixed.
        accuracy: Share of right answers (mean word F1 for `qa`), whatever the metric is.
        per_domain: Each domain's figure, in order of name.
        own: Figures of users' own metrics, by name (`evaluation.metrics`).
        left_out: Answers that count neither as right nor as wrong, by reason: those whose verdict
            a cap refused.
    """

    macro: float | None
    micro: float | None
    head: float | None
    tail: float | None
    natural: float | None
    worst: float | None = field(default=None, kw_only=True)
    entropy: float | None = field(default=None, kw_only=True)
    dodrans: float | None = field(default=None, kw_only=True)
    metric: Metric
    accuracy: float | None
    per_domain: dict[str, DomainScore]
    own: dict[str, float] = field(default_factory=dict, kw_only=True)
    left_out: dict[str, int] = field(default_factory=dict, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON-ready dictionary; without `own` and `left_out` if empty."""
        figures = asdict(self)
        for name in ("own", "left_out"):
            if not figures[name]:
                del figures[name]
        return figures


def without_figures(metric: Metric) -> Metrics:
    """Return the figures of an evaluation in which no answer counts."""
    return Metrics(None, None, None, None, None, metric=metric, accuracy=None, per_domain={})


def mean_scores(responses: pa.Table) -> dict[str, DomainScore]:
    """Return the mean score of each domain, in order of name.

    Args:
        responses: Marked responses with `domain` and `score`; a score is a boolean (right or
            wrong) or a number in [0, 1].

    Raises:
        ValueError: There are no examples, or a value is missing.
    """
    domains, scores = responses["domain"], responses["score"].cast(pa.float64())
    if len(responses) == 0:
        raise ValueError("there are no evaluation examples to measure on")
    if domains.null_count or scores.null_count or pc.any(pc.is_nan(scores)).as_py():
        raise ValueError(
            "every evaluation example needs a domain and a score; a missing answer is 0"
        )
    names = sorted(pc.unique(domains).to_pylist())
    group = pc.index_in(domains, pa.array(names, domains.type)).to_numpy()
    counts = np.bincount(group, minlength=len(names))
    means = np.bincount(group, weights=scores.to_numpy(), minlength=len(names)) / counts
    return {
        name: DomainScore(float(mean), int(count))
        for name, mean, count in zip(names, means, counts, strict=True)
    }


def over_domains(
    metric: Metric,
    per_domain: dict[str, DomainScore],
    micro: float,
    counts: DomainCounts,
    head: Collection[str],
) -> Metrics:
    """Return the means of the domains' figures.

    Args:
        metric: The kind of the figures.
        per_domain: Figure of each domain; at least one.
        micro: Mean over the evaluation examples; also the accuracy, because micro F1 with one label
            an example is the share of right answers.
        counts: Examples per domain of the training corpus.
        head: The head domains of the corpus.
    """
    scores = {name: figure.score for name, figure in per_domain.items()}
    sizes = {name: counts.get(name, 0) for name in scores}
    num_examples = sum(sizes.values())
    weighted = sum(sizes[name] * score for name, score in scores.items())

    def weighed(weighting: Weighting) -> float | None:
        if not num_examples:
            return None
        weights = domain_weights(sizes, weighting)
        return sum(weights[name] * score for name, score in scores.items())

    return Metrics(
        macro=sum(scores.values()) / len(scores),
        micro=micro,
        head=_mean([score for name, score in scores.items() if name in head]),
        tail=_mean([score for name, score in scores.items() if name not in head]),
        natural=weighted / num_examples if num_examples else None,
        worst=min(scores.values()),
        entropy=weighed("entropy"),
        dodrans=weighed("dodrans"),
        metric=metric,
        accuracy=micro,
        per_domain=per_domain,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
