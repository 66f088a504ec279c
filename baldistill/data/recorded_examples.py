"""Read recorded new examples (`teacher.synthetic`), checked as the rows of a corpus are.

What was read stands in the run folder from then on: a run that goes on finds the same examples in
the same order, whatever became of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from baldistill.config import DataConfig
from baldistill.data.corpus_checks import too_many_bad
from baldistill.data.file_format import inspect_files
from baldistill.data.read_unit import readable_blocks
from baldistill.data.rows import BadRow, count_values, quarantine_table
from baldistill.data.sources import SourceFile, find_files
from baldistill.data.units import Segment
from baldistill.data.validate import divide
from baldistill.errors import DataError
from baldistill.records import RECORDED, RecordedExample
from baldistill.run_folder import layout
from baldistill.storage import Storage

KEY = "teacher.synthetic"
_COLUMNS = {name: name for name in ("domain", "question", "answer", "rationale")}


@dataclass(frozen=True, slots=True)
class RecordedSummary:
    """Counts of recorded new examples, usable or left out.

    Attributes:
        counts: Usable ones, by domain.
        quarantined: Rows that were left out, by reason.
    """

    counts: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)


def find_recorded(source: str) -> list[SourceFile]:
    """Find the files of a recording and look at the beginning of each.

    Raises:
        DataError: There are none, a format is unknown, or a column is missing.
    """
    return inspect_files(find_files(source, "train", "auto", key=KEY), _COLUMNS, mapped=False)


def prepare_recorded(
    sources: Mapping[int, str], config: DataConfig, storage: Storage
) -> RecordedSummary:
    """Read recorded new examples and write them to the run folder, with a table of bad rows.

    The bounds on lengths and on the share of bad rows are those of the corpus.

    Args:
        sources: The recording of each teacher that has one, by its place in a cascade, from 1.
        config: Of the corpus.
        storage: The run folder.

    Raises:
        DataError: A recording cannot be used.
    """
    storage.delete(layout.RECORDED)
    storage.fs.create_dir(storage.path(layout.RECORDED), recursive=True)
    counts, quarantined = Counter[str](), Counter[str]()
    for tier, source in sources.items():
        name = layout.recorded_examples(tier)
        files, bad = [], []
        with pq.ParquetWriter(
            storage.path(name), RECORDED, filesystem=storage.fs, compression="zstd"
        ) as writer:
            number = 0
            for table, some in _checked(source, config):
                places = pa.array(np.arange(number, number + table.num_rows))
                numbered = table.append_column("number", places)
                writer.write_table(numbered.select(RECORDED.names).cast(RECORDED))
                counts.update(count_values(table["domain"]))
                number += table.num_rows
                files += [file for file, _ in some]
                bad += [row for _, row in some]
        storage.write_table(layout.recorded_quarantine(tier), quarantine_table(files, bad))
        quarantined.update(row.reason for row in bad)
        _check_share_bad(source, number, files, bad, config, storage.uri_of(layout.RECORDED))
    return RecordedSummary(dict(sorted(counts.items())), dict(sorted(quarantined.items())))


def read_recorded(storage: Storage, tier: int, domains: list[str]) -> list[RecordedExample]:
    """Return the recorded new examples of some domains, in their order."""
    path = storage.path(layout.recorded_examples(tier))
    table = ds.dataset(path, filesystem=storage.fs, format="parquet").to_table(
        filter=ds.field("domain").isin(domains)
    )
    return RecordedExample.from_table(table.sort_by("number"))


def _checked(
    source: str, config: DataConfig
) -> Iterator[tuple[pa.Table, list[tuple[str, BadRow]]]]:
    """Yield the valid rows of each block, and its bad rows with their file."""
    for file in find_recorded(source):
        for block in readable_blocks(file, Segment(file.index, file.size), _COLUMNS):
            columns, _, bad = divide(block, config)
            yield pa.table(columns), [(file.shown, row) for row in bad]


def _check_share_bad(
    source: str, num_good: int, files: list[str], bad: list[BadRow], config: DataConfig, where: str
) -> None:
    """Raise if there are no rows, or too many bad ones."""
    num_read = num_good + len(bad)
    if num_read == 0:
        raise DataError(f"{KEY}={source} has no rows: give it some, or leave it out")
    if num_good and len(bad) <= config.max_bad_fraction * num_read:
        return
    examples = [
        f"{file}, row {row.row}: {row.reason}: {row.detail}: {row.content[:80]!r}"
        for file, row in zip(files[:5], bad[:5], strict=True)
    ]
    raise too_many_bad(len(bad), num_read, examples, config, where, f"mend {KEY}={source}")
