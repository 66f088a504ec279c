"""Figures about the prepared corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from baldistill.data.staged_part import ReadReport
from baldistill.data.write_corpus import WriteReport


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """The result of `prepare_corpus`.

    num_rows_read = sum(counts) + sum(evaluation_counts) + sum(quarantined) + num_capped.

    Attributes:
        num_rows_read: Rows of all files; blank lines are no rows.
        counts: Domain -> rows of the corpus, sorted by domain.
        evaluation_counts: Domain -> rows of the evaluation set, sorted by domain.
        quarantined: Reason -> rows in quarantine.
        num_capped: Evaluation rows beyond `evaluation_max_per_domain`: neither trained on, nor
            evaluated on, nor in quarantine.
        warnings: What is odd about a corpus that can be used.
        several_answers: Whether rows have more than one acceptable gold answer.
    """

    num_rows_read: int
    counts: dict[str, int]
    evaluation_counts: dict[str, int]
    quarantined: dict[str, int]
    num_capped: int
    warnings: list[str] = field(default_factory=list)
    several_answers: bool = False  # earlier versions did not record it


def summarise(read: Sequence[ReadReport], written: Sequence[WriteReport]) -> CorpusSummary:
    """Add up the reports of the reading and the writing tasks; check that no row is missing."""
    summary = CorpusSummary(
        num_rows_read=sum(report.num_read for report in read),
        counts=_total(report.train for report in written),
        evaluation_counts=_total(report.evaluation for report in written),
        quarantined=_total([*(r.bad for r in read), *(r.quarantined for r in written)]),
        num_capped=sum(report.num_capped for report in written),
    )
    tables = (summary.counts, summary.evaluation_counts, summary.quarantined)
    rows_out = sum(sum(table.values()) for table in tables) + summary.num_capped
    assert rows_out == summary.num_rows_read, f"{summary.num_rows_read} rows in, {rows_out} out"
    return summary


def _total(tables: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum by key, sorted by key."""
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return dict(sorted(total.items()))
