"""Look at a corpus without a run: its domains, its tail, and the rows that are left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from rich.table import Table

from baldistill.commands.inputs import judged_note, left_out, scorer_of, scratch_folder
from baldistill.config import Config
from baldistill.core.corpus_notes import corpus_notes
from baldistill.core.longtail import by_size, head_domains, imbalance
from baldistill.data.prepare import prepare_corpus
from baldistill.data.summary import CorpusSummary
from baldistill.errors import DataError
from baldistill.method.plan import check_candidates
from baldistill.placement.cluster import connected
from baldistill.progress.display import Display
from baldistill.run_folder import layout
from baldistill.terminal import make_table

_MOST_DOMAINS = 40
_NOT_BAD = ("duplicate", "duplicate_id", "near_duplicate", "in_evaluation_set", "contaminated")
"""Reasons other than a bad row."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The content of a corpus.

    Attributes:
        quarantine: Rows that a run would leave out (records.QUARANTINE), by file and row.
    """

    corpus: CorpusSummary
    quarantine: pa.Table

    def to_dict(self, head_mass: float) -> dict[str, Any]:
        """Return the figures as JSON values."""
        counts = self.corpus.counts
        return {
            **asdict(self.corpus),
            "head": sorted(head_domains(counts, head_mass)),
            "imbalance": imbalance(counts, head_mass).to_dict(),
        }


def inspect_corpus(
    config: Config, *, address: str | None = None, verbose: bool = False, display: Display
) -> Inspection:
    """Read, validate and split a corpus, however many of its rows are bad.

    Raises:
        DataError: The corpus cannot be used at all. The folder with its quarantine table is kept.
    """
    data = config.data.model_copy(update={"max_bad_fraction": 1.0})
    order = [("file", "ascending"), ("row", "ascending")]
    with scratch_folder("data") as storage, connected(address, verbose=verbose):
        track, scorer = partial(display.task, brief=True), scorer_of(data)
        corpus = prepare_corpus(data, config.seed, storage, track, scorer)
        return Inspection(corpus, storage.read_table(layout.QUARANTINE).sort_by(order))


def describe(inspection: Inspection, config: Config, display: Display) -> None:
    """Print the domains, largest first, how unequal they are, and how the corpus was read."""
    corpus, mass = inspection.corpus, config.evaluation.head_mass
    figures = imbalance(corpus.counts, mass)
    display.show(domain_table(corpus, head_domains(corpus.counts, mass)))
    ratio = f"{figures.ratio:,.0f}" if figures.ratio >= 10 else f"{figures.ratio:.1f}"
    display.say(
        f"{figures.num_examples:,} examples in {figures.num_domains} domains: largest "
        f"{figures.largest:,}, smallest {figures.smallest:,} ({ratio} : 1), Gini {figures.gini:.2f}"
    )
    display.say(
        f"head: {figures.num_head_domains} domains hold {figures.head_share:.0%} of them "
        f"(evaluation.head_mass={mass:g}); tail: {figures.num_domains - figures.num_head_domains}"
    )
    for about in corpus_notes(config.data.model_dump(), several_answers=corpus.several_answers):
        display.say(about)
    if config.data.columns.answer is None:
        display.say(
            "no training row has a gold answer (data.columns.answer=null): the teacher's are taken "
            f"(rationale.accept={config.rationale.accept})"
        )
    if config.evaluation.gold == "teacher":
        display.say(
            "the evaluation set has no gold answers (evaluation.gold=teacher): the student is "
            "marked against the teacher's, by how often the two agree"
        )
    if note := judged_note(config):
        display.say(note)
    _say_left_out(corpus, display)


def domain_table(corpus: CorpusSummary, head: frozenset[str]) -> Table:
    """Return a table of the rows of each domain; of many domains, the largest and smallest."""
    counts = corpus.counts
    total = sum(counts.values())
    order = by_size(counts)
    half = _MOST_DOMAINS // 2
    shown = order if len(order) <= _MOST_DOMAINS else [*order[:half], *order[-half:]]
    rows = [
        [
            name,
            "head" if name in head else "tail",
            f"{counts[name]:,}",
            f"{counts[name] / total:.1%}",
            f"{corpus.evaluation_counts.get(name, 0):,}",
        ]
        for name in shown
    ]
    num_hidden = len(order) - len(shown)
    whole = [
        f"all {len(order):,} ({num_hidden:,} between not shown)" if num_hidden else "all",
        "",
        f"{total:,}",
        "100.0%",
        f"{sum(corpus.evaluation_counts.values()):,}",
    ]
    columns = ["domain", "part", "train", "share", "evaluation"]
    return make_table("domains", columns, rows, [whole], words=2)


def validate(inspection: Inspection, config: Config, display: Display, rows: int) -> None:
    """Print the rows that a run would leave out, with reasons and lines; so many in full.

    Raises:
        DataError: A run would stop: too many rows are bad (`data.max_bad_fraction`).
        ConfigError: A run would stop: too many rows would be candidates.
    """
    corpus, table = inspection.corpus, inspection.quarantine
    for row in table.slice(0, rows).to_pylist():
        display.say(f"{row['file']}:{row['row']}: {row['reason']}: {row['detail']}")
        display.say(f"    {row['content']}")
    if len(table) > rows:
        display.say(f"... and {len(table) - rows:,} more (--rows)")
    display.say(
        f"{corpus.num_rows_read:,} rows read: {sum(corpus.counts.values()):,} to train on and "
        f"{sum(corpus.evaluation_counts.values()):,} to evaluate on in {len(corpus.counts)} domains"
    )
    _say_left_out(corpus, display)
    check_candidates(config, corpus.counts)
    bad = sum(n for reason, n in corpus.quarantined.items() if reason not in _NOT_BAD)
    if bad > config.data.max_bad_fraction * corpus.num_rows_read:
        raise DataError(
            f"{bad:,} of {corpus.num_rows_read:,} rows cannot be used, more than "
            f"data.max_bad_fraction={config.data.max_bad_fraction:g} allows: a run would stop. "
            "To do: mend the files, or the column mapping in data.columns, or allow it"
        )


def _say_left_out(corpus: CorpusSummary, display: Display) -> None:
    display.say(f"left out: {left_out(corpus)}")
    for warning in corpus.warnings:
        display.say(f"warning: {warning}")
