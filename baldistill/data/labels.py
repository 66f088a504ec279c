"""Find the labels of a classification corpus, for prompts and for reading answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from baldistill.config import Config
from baldistill.core.answer_text import fold
from baldistill.core.label_sets import MAX_LABELS, Labels, labels_from_answers
from baldistill.run_folder import layout
from baldistill.storage import Storage


def label_sets(config: Config, counts: Mapping[str, int], storage: Storage) -> Labels:
    """Return the labels of each classification domain: the answers of `corpus/train`.

    Further acceptable answers of a row are labels, too, but do not make a domain of one label one
    of several.
    """
    domains = {domain for domain in counts if config.task_of(domain) == "classification"}
    answers: dict[str, dict[str, str]] = {domain: {} for domain in domains}
    further: dict[str, dict[str, str]] = {domain: {} for domain in domains}
    for kind, domain, answer in _distinct_answers(storage) if domains else ():
        found = (answers if kind == "answer" else further).get(domain)
        if found is not None and len(found) <= MAX_LABELS:
            key = fold(answer)
            found[key] = min(answer, found.get(key, answer))
    for domain, found in answers.items():
        if len(found) > 1:
            found |= {key: text for key, text in further[domain].items() if key not in found}
    return labels_from_answers(answers)


def _distinct_answers(storage: Storage) -> Iterator[tuple[str, str, str]]:
    """Yield column, domain and text of answers and alternatives; some more than once."""
    for name in storage.tables(layout.TRAIN):
        with storage.fs.open_input_file(storage.path(f"{layout.TRAIN}/{name}")) as file:
            parquet = pq.ParquetFile(file)
            wanted = ["domain", "answer"]
            wanted += [name for name in ("alternatives",) if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(columns=wanted):
                for kind in wanted[1:]:
                    domains, texts = batch["domain"], batch[kind]
                    if kind == "alternatives":
                        domains = domains.take(pc.list_parent_indices(texts))
                        texts = pc.list_flatten(texts)
                    table = pa.table({"domain": domains, "text": texts})
                    table = table.filter(pc.not_equal(table["text"], ""))  # no gold answer
                    for row in table.group_by(["domain", "text"]).aggregate([]).to_pylist():
                        yield kind, row["domain"], row["text"]
