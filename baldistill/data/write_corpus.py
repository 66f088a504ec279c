"""The writing pass: write a staged part to corpus, evaluation set and quarantine table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.data.duplicates import Duplicates
from baldistill.data.made_domains import read_domains, with_domains
from baldistill.data.near_duplicates import Neighbours
from baldistill.data.rows import BadRow, Reason, content_of, count_values, quarantine_table
from baldistill.data.split import EvaluationSet
from baldistill.data.staged_part import ParquetFiles
from baldistill.data.validate import EVALUATION, place_of, row_of
from baldistill.records import EXAMPLES, with_optional
from baldistill.run_folder import layout
from baldistill.storage import Storage

_BATCH_ROWS = 8192
Problem: TypeAlias = tuple[Reason, str]
_CONTENT = ["position", "domain", "question", "answer"]


@dataclass(slots=True)
class WriteReport:
    """Counts of the rows of a part, by the folder that they were written to."""

    train: Counter[str] = field(default_factory=Counter)
    evaluation: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    num_capped: int = 0
    num_with_choices: int = 0


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Rows that the cleaning options found.

    Attributes:
        near: Rows near an earlier one.
        near_evaluation: Rows to train on that are near one of the evaluation set.
        contaminated: Rows to train on that hold a question of it, or of further files.
    """

    near: Neighbours = field(default_factory=Neighbours.none)
    near_evaluation: Neighbours = field(default_factory=Neighbours.none)
    contaminated: Neighbours = field(default_factory=Neighbours.none)


@dataclass(frozen=True, slots=True)
class _Passes:
    """Findings of the earlier passes, and the files' names by index."""

    file_names: Mapping[int, str]
    duplicates: Duplicates
    evaluation: EvaluationSet
    cleaned: Cleaned


def write_part(
    storage: Storage,
    name: str,
    file_names: Mapping[int, str],
    duplicates: Duplicates,
    evaluation: EvaluationSet,
    optional: Collection[str] = (),
    cleaned: Cleaned | None = None,
) -> WriteReport:
    """Write the rows of a staged part to the folders that they belong to.

    `file_names` has the files' names by index, for the quarantine table. `optional` has those
    optional columns that the tables of this corpus have. `cleaned` is what cleaning found.
    """
    passes = _Passes(file_names, duplicates, evaluation, cleaned or Cleaned())
    report = WriteReport()
    schema = with_optional(EXAMPLES, optional)
    path = storage.path(f"{layout.STAGING}/rows/{name}.parquet")
    made, start = read_domains(storage, name), 0
    with storage.fs.open_input_file(path) as source, closing(ParquetFiles(storage)) as writers:
        for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS, use_threads=False):
            table = with_domains(pa.Table.from_batches([batch]), made, start)
            start += len(batch)
            _write_batch(table, schema, name, writers, report, passes)
    return report


def _write_batch(
    table: pa.Table,
    schema: pa.Schema,
    name: str,
    writers: ParquetFiles,
    report: WriteReport,
    passes: _Passes,
) -> None:
    position = table["position"].to_numpy()
    repeated = _repeated(table, passes)
    unique = np.ones(len(table), np.bool_)
    unique[list(repeated)] = False
    chosen = unique & np.isin(position, passes.evaluation.position)
    is_train = unique & ~chosen & (table["role"].to_numpy() != EVALUATION)
    leaked = _leaked(table, is_train, passes)
    is_train[list(leaked)] = False

    for folder, mask, counts in (
        (layout.TRAIN, is_train, report.train),
        (layout.EVALUATION, chosen, report.evaluation),
    ):
        rows = table.filter(pa.array(mask)).select(schema.names).cast(schema)
        writers.write(f"{folder}/{name}.parquet", rows)
        counts.update(count_values(rows["domain"]))

    report.num_with_choices += len(table) - table["choices"].null_count
    problems = sorted((repeated | leaked).items())
    quarantined = _quarantined(table, problems, passes.file_names)
    writers.write(f"{layout.QUARANTINE}/set-{name}.parquet", quarantined)
    report.quarantined.update(reason for _, (reason, _) in problems)
    report.num_capped += len(table) - int(is_train.sum() + chosen.sum()) - len(problems)


def _repeated(table: pa.Table, passes: _Passes) -> dict[int, Problem]:
    """Return the rows that repeat an earlier row, by index."""
    position, names = table["position"].to_numpy(), passes.file_names
    same_content = passes.duplicates.originals(table["key"].to_numpy(), position)
    same_id = passes.duplicates.originals(table["id_key"].to_numpy(), position)
    near, similarity = passes.cleaned.near.of_rows(position)
    found: dict[int, Problem] = {}
    for index in np.flatnonzero((same_content >= 0) | (same_id >= 0) | (near >= 0)):
        if same_content[index] >= 0:
            where = _place(same_content[index], names)
            found[int(index)] = "duplicate", f"same domain and question as {where}"
        elif same_id[index] >= 0:
            found[int(index)] = "duplicate_id", f"same id as {_place(same_id[index], names)}"
        else:
            where = _place(near[index], names)
            found[int(index)] = "near_duplicate", f"{similarity[index]:.2f} like {where}"
    return found


def _leaked(
    table: pa.Table, is_train: npt.NDArray[np.bool_], passes: _Passes
) -> dict[int, Problem]:
    """Return the rows to train on that the evaluation set holds in some form, by index."""
    position, evaluation = table["position"].to_numpy(), passes.evaluation
    same_chat = np.isin(row_of(position), row_of(evaluation.position))
    same_question = np.isin(table["question_key"].to_numpy(), evaluation.question_key)
    near, similarity = passes.cleaned.near_evaluation.of_rows(position)
    held, share = passes.cleaned.contaminated.of_rows(position)
    is_leaked = same_chat | same_question | (near >= 0) | (held >= 0)
    found: dict[int, Problem] = {}
    for index in np.flatnonzero(is_train & is_leaked):
        if same_chat[index]:
            detail = "another turn of its chat is in the evaluation set"
            found[int(index)] = "in_evaluation_set", detail
        elif same_question[index]:
            found[int(index)] = (
                "in_evaluation_set",
                "the same question is in the evaluation set",
            )
        elif near[index] >= 0:
            where = _place(near[index], passes.file_names)
            detail = f"{similarity[index]:.2f} like {where}, which is in the evaluation set"
            found[int(index)] = "near_duplicate", detail
        else:
            where = _place(held[index], passes.file_names)
            detail = f"holds {share[index]:.0%} of the n-grams of {where}"
            found[int(index)] = "contaminated", detail
    return found


def _quarantined(
    table: pa.Table, problems: Sequence[tuple[int, Problem]], file_names: Mapping[int, str]
) -> pa.Table:
    picked = table.select(_CONTENT).take(pa.array([index for index, _ in problems], pa.int64()))
    files: list[str] = []
    bad: list[BadRow] = []
    for (_, (reason, detail)), values in zip(problems, picked.to_pylist(), strict=True):
        file, row = place_of(values.pop("position"))
        files.append(file_names[file])
        bad.append(BadRow(row, reason, detail, content_of(values)))
    return quarantine_table(files, bad)


def _place(position: npt.NDArray[np.int64], file_names: Mapping[int, str]) -> str:
    file, row = place_of(int(position))
    return f"row {row} of {file_names[file]}"
