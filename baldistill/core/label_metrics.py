"""F1 of classification answers, and the figures of a corpus whose domains have different tasks.

Source: BalDistill (arXiv 2406.13114), section 4 and table 1: macro and micro F1 for R52 and
Reuters, whose domains are the labels; word-level F1 for abstractive question answering; accuracy
for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from baldistill.core.answer_text import fold
from baldistill.core.answers import AnyTask
from baldistill.core.longtail import DomainCounts
from baldistill.core.metrics import (
    DomainScore,
    Metric,
    Metrics,
    mean_scores,
    over_domains,
)

_METRICS: dict[AnyTask, Metric] = {"classification": "f1", "qa": "word_f1", "judged": "judged"}


def label_f1(predictions: Sequence[str | None], golds: Sequence[str]) -> dict[str, DomainScore]:
    """Return F1 = 2 TP / (2 TP + FP + FN) of each label that occurs as gold.

    A missing or unknown prediction counts as wrong.

    Args:
        predictions: Predicted label of each example, None where there was none.
        golds: Gold label of each example, as many.
    """
    labels = sorted(set(golds))
    code = {label: number for number, label in enumerate(labels)}
    gold = np.array([code[label] for label in golds], dtype=np.int64)
    predicted = np.array(
        [code.get(label, len(labels)) if label else len(labels) for label in predictions],
        dtype=np.int64,
    )
    size = len(labels) + 1
    right = np.bincount(gold[gold == predicted], minlength=size)
    wanted, given = np.bincount(gold, minlength=size), np.bincount(predicted, minlength=size)
    f1 = 2 * right[:-1] / (wanted[:-1] + given[:-1])
    return {
        label: DomainScore(float(f1[number]), int(wanted[number])) for label, number in code.items()
    }


def metrics_of_responses(
    responses: pa.Table,
    task_of: Callable[[str], AnyTask],
    own: Mapping[str, str],
    counts: DomainCounts,
    head: Collection[str],
) -> Metrics:
    """Return the figures of a student's marked responses, each domain by its own task.

    A domain's figure is the mean of its scores (accuracy, word F1), but for classification:

    - where a domain is a label (R52, Reuters), its figure is the F1 of that label over the
      examples of all such domains, so that wrong answers of other domains count against it;
    - another domain (of yes and no) is scored by itself: the mean F1 of its gold labels.

    Where a row has several acceptable labels, its gold label is the predicted one, if that is among
    them, else the first.

    `metric` is the domains' common figure, else `mixed`. Micro is the mean score over the examples:
    for labels, this is their micro F1 and their accuracy.

    Args:
        responses: Rows of `records.RESPONSES`.
        task_of: Task of a domain.
        own: Label of each domain that is a label; found in the training answers
            (`core.label_sets`), so that evaluation rows cannot change it.
        counts: Examples per domain of the training corpus. A domain without any counts as tail.
        head: The head domains of the corpus.

    Raises:
        ValueError: As `mean_scores`.
    """
    by_score = mean_scores(responses)
    tasks = {domain: task_of(domain) for domain in by_score}
    kinds = {_METRICS.get(task, "accuracy") for task in tasks.values()}
    labelled = {domain for domain, task in tasks.items() if task == "classification"}
    figures = by_score | _classification(responses, labelled, own)
    metric: Metric = next(iter(kinds)) if len(kinds) == 1 else "mixed"
    micro = float(responses["score"].cast(pa.float64()).to_numpy().mean())
    return over_domains(metric, figures, micro, counts, head)


def _classification(
    responses: pa.Table, domains: Collection[str], own: Mapping[str, str]
) -> dict[str, DomainScore]:
    golds: dict[str, list[str]] = {domain: [] for domain in domains}
    predictions: dict[str, list[str | None]] = {domain: [] for domain in domains}
    optional = [name for name in ("alternatives",) if name in responses.column_names]
    rows = responses.select(["domain", "answer", "prediction", *optional]).to_pylist()
    for row in rows:
        if row["domain"] in golds:
            said = row["prediction"]
            label = None if said is None else fold(said)
            further = {fold(answer) for answer in row.get("alternatives") or ()}
            gold = fold(row["answer"])
            golds[row["domain"]].append(label if label is not None and label in further else gold)
            predictions[row["domain"]].append(label)
    pooled = label_f1(
        [said for domain in golds if domain in own for said in predictions[domain]],
        [gold for domain in golds if domain in own for gold in golds[domain]],
    )
    absent = DomainScore(0.0, 0)  # no gold answer is its label
    figures: dict[str, DomainScore] = {}
    for domain, labels in golds.items():
        if domain in own:
            score = pooled.get(fold(own[domain]), absent).score
        else:
            alone = label_f1(predictions[domain], labels)
            score = float(np.mean([figure.score for figure in alone.values()]))
        figures[domain] = DomainScore(score, len(labels))
    return figures
