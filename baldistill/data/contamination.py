"""Rows to train on that hold a question of the evaluation set, or of further files: by n-grams.

The n-grams of these questions are hashed, indexed once and mapped by each node (`core/overlap.py`);
the corpus is read past them. Eight words and half of the n-grams follow Tülu 3 (Lambert et al.,
2024, section 3), which counts the words that such n-grams cover.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.config import DataConfig, DecontaminateConfig
from baldistill.core.ngrams import HashLists, Integers, ngrams
from baldistill.core.overlap import References, most_held
from baldistill.data.file_format import inspect_files
from baldistill.data.near_duplicates import NEIGHBOURS, Texts, batches_of, questions_of
from baldistill.data.read_unit import readable_blocks
from baldistill.data.sources import SourceFile, find_files
from baldistill.data.text import BLANK
from baldistill.data.units import Segment
from baldistill.data.validate import ROW_BITS, TRAIN
from baldistill.data.words import hash_words
from baldistill.errors import DataError
from baldistill.storage import Storage

KEY = "data.decontaminate"


def find_references(config: DataConfig, first_index: int) -> list[SourceFile]:
    """Find the further files of `data.decontaminate`; the first has the index `first_index`.

    Raises:
        DataError: A file is missing, of no known format, or lacks the column.
    """
    rule = config.decontaminate
    if rule is None or not rule.files:
        return []
    found = find_files(rule.files, "evaluation", "auto", first_index, key=f"{KEY}.files")
    columns = {"question": column_of(config)}
    return inspect_files(found, columns, option=f"{KEY}.column")


def column_of(config: DataConfig) -> str:
    """Return the column of the questions in the further files."""
    assert config.decontaminate is not None
    return config.decontaminate.column or config.columns.question


def questions_of_file(
    file: SourceFile, column: str, rule: DecontaminateConfig
) -> Iterator[tuple[Texts, int]]:
    """Yield the n-grams of a file's questions by position, and how many rows are no text."""
    for block in readable_blocks(file, Segment(file.index, file.size), {"question": column}):
        position = (np.int64(file.index) << ROW_BITS) | block.rows.astype(np.int64)
        texts = block.columns["question"]
        is_text = pc.invert(pc.fill_null(pc.match_substring_regex(texts, BLANK), True))
        position = position[is_text.to_numpy(zero_copy_only=False)]
        num_bad = len(block.bad) + len(texts) - len(position)
        yield Texts(position, _ngrams(texts.filter(is_text), rule)), num_bad


def evaluation_questions(
    storage: Storage, name: str, wanted: Integers, rule: DecontaminateConfig
) -> Iterator[Texts]:
    """Yield the n-grams of the rows of a part at wanted positions: those of the evaluation set."""
    for rows in batches_of(storage, name):
        rows = rows.filter(pa.array(np.isin(rows["position"].to_numpy(), wanted)))
        if len(rows):
            yield Texts(rows["position"].to_numpy(), _ngrams(questions_of(rows), rule))


def contaminated_rows(
    storage: Storage,
    name: str,
    references: References,
    positions: Integers,
    evaluation: Integers,
    rule: DecontaminateConfig,
) -> Iterator[pa.Table]:
    """Yield the rows of a part to train on that hold a reference (NEIGHBOURS).

    Args:
        storage: The run folder's.
        name: Of the part.
        references: What must not be trained on.
        positions: Of the references.
        evaluation: Positions of the evaluation set, which a seeded split takes from these rows.
        rule: n.
    """
    for rows in batches_of(storage, name):
        is_train = rows["role"].to_numpy() == TRAIN
        is_train &= ~np.isin(rows["position"].to_numpy(), evaluation)
        rows = rows.filter(pa.array(is_train))
        if not len(rows):
            continue
        best, share = most_held(references, _ngrams(questions_of(rows), rule))
        found = best >= 0
        columns = [rows["position"].to_numpy()[found], positions[best[found]], share[found]]
        yield pa.table([*columns[:2], columns[2].astype(np.float32)], schema=NEIGHBOURS)


def check_references(sizes: Integers, files: Sequence[str], rule: DecontaminateConfig) -> list[str]:
    """Return warnings about references that are too short to be found.

    Raises:
        DataError: All are.
    """
    short = int((sizes == 0).sum())
    where = ", ".join(["the evaluation set", *files][:5])
    if short == len(sizes):
        raise DataError(
            f"{KEY}: no question of {where} has {rule.ngram} words, so none can be found. To do: "
            f"set {KEY}.ngram to fewer, or leave {KEY} out"
        )
    if not short:
        return []
    return [
        f"{short} of {len(sizes)} questions of {where} have fewer than {rule.ngram} words "
        f"({KEY}.ngram): rows that hold them are not found"
    ]


def _ngrams(texts: pa.Array, rule: DecontaminateConfig) -> HashLists:
    words, _ = hash_words(texts, marks=False)
    return ngrams(words, rule.ngram, whole_if_short=False).distinct()
