"""Find the labels of a classification corpus, for prompts and for reading answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.config import Config
from baldistill.core.answer_text import fold
from baldistill.core.label_sets import MAX_LABELS, Labels, labels_from_answers
from baldistill.run_folder import layout
from baldistill.storage import Storage


def label_sets(config: Config, counts: Mapping[str, int], storage: Storage) -> Labels:
    """Return the labels of each classification domain: the answers of `corpus/train`."""
    domains = {domain for domain in counts if config.task_of(domain) == "classification"}
    answers: dict[str, dict[str, str]] = {domain: {} for domain in domains}
    for domain, answer in _distinct_answers(storage) if domains else ():
        found = answers.get(domain)
        if found is not None and len(found) <= MAX_LABELS:
            key = fold(answer)
            found[key] = min(answer, found.get(key, answer))
    return labels_from_answers(answers)


def _distinct_answers(storage: Storage) -> Iterator[tuple[str, str]]:
    for name in storage.tables(layout.TRAIN):
        with storage.fs.open_input_file(storage.path(f"{layout.TRAIN}/{name}")) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=["domain", "answer"]):
                pairs = pa.Table.from_batches([batch]).group_by(["domain", "answer"]).aggregate([])
                yield from zip(
                    pairs["domain"].to_pylist(), pairs["answer"].to_pylist(), strict=True
                )
