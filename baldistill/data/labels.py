"""The labels of a classification corpus, as prompts show them and answers are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.config import Config
from baldistill.core.answer_text import fold
from baldistill.storage import Storage

Labels: TypeAlias = tuple[str, ...]

MAX_LABELS = 100
"""A longer list is not shown: it would push the question out of a small model's context."""


def label_sets(config: Config, counts: Mapping[str, int], storage: Storage) -> dict[str, Labels]:
    """The labels among which the answers of each classification domain lie.

    A domain whose rows have several answers (yes and no) has these. One whose rows all have the
    same answer is a label itself (R52, Reuters): it lies among the labels of all such domains.

    Args:
        config: Tells which domains are classification.
        counts: Examples by domain.
        storage: The run's folder, with `corpus/train`; its answers are streamed once.

    Returns:
        By domain, the labels in order; none for a domain of more than MAX_LABELS or of another
        task.
    """
    domains = {domain for domain in counts if config.task_of(domain) == "classification"}
    own: dict[str, dict[str, str]] = {domain: {} for domain in domains}
    for domain, answer in _distinct_answers(storage) if domains else ():
        found = own.get(domain)
        if found is not None and len(found) <= MAX_LABELS:
            key = fold(answer)
            found[key] = min(answer, found.get(key, answer))
    shared: dict[str, str] = {}
    for found in own.values():
        if len(found) == 1:
            shared |= found
    sets = {domain: shared if len(found) == 1 else found for domain, found in own.items()}
    return {
        domain: tuple(sorted(labels.values()))
        for domain, labels in sorted(sets.items())
        if 1 < len(labels) <= MAX_LABELS
    }


def _distinct_answers(storage: Storage) -> Iterator[tuple[str, str]]:
    for name in storage.list("corpus/train"):
        with storage.fs.open_input_file(storage.path(f"corpus/train/{name}")) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=["domain", "answer"]):
                pairs = pa.Table.from_batches([batch]).group_by(["domain", "answer"]).aggregate([])
                yield from zip(
                    pairs["domain"].to_pylist(), pairs["answer"].to_pylist(), strict=True
                )
