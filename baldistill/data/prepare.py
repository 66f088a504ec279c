"""`prepare_corpus`: the user's files to a clean corpus, an evaluation set and a quarantine table.

Four passes, each of independent tasks (`ray_pass.py`); before them, a count of the lines of big
JSONL files, so that line numbers are exact wherever a file is cut:

1. read: each unit of 32 MiB is parsed, checked, normalised and staged; bad rows are written to
   the quarantine folder (`staging.py`).
2. duplicates: each range of the key space is searched for keys that occur twice
   (`duplicates.py`); a pass before it divides the keys of more than 2 M rows by range.
3. split: each part gives its top-k of every domain by a seeded hash; the driver merges
   (`split.py`).
4. write: each part is divided into corpus, evaluation set and quarantine (`write_corpus.py`).

What grows with the corpus is on the storage. The driver holds the list of files and units (1,600
for 100 M rows of 500 bytes), one report a part, the counts by domain, and the evaluation set; a
worker holds a block of rows, a partition of the key space (32 MB), a part's columns of keys, and
maps the repeated keys as shared memory. Passes 2 and 3 read only the columns of keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import ray

from baldistill.config import DataConfig
from baldistill.data.bundled_source import write_bundled
from baldistill.data.corpus_checks import (
    check_domain_tasks,
    check_domains,
    check_evaluation,
    check_num_domains,
    check_share_bad,
    warnings_of,
)
from baldistill.data.duplicates import (
    Duplicates,
    count_partitions,
    divide_keys,
    gather,
    group_parts,
    repeated_keys,
)
from baldistill.data.file_format import inspect_files
from baldistill.data.ray_pass import Track, as_row, pass_refs, reports_of, run_pass, untracked
from baldistill.data.rows import mapped_columns
from baldistill.data.sources import SourceFile, find_files
from baldistill.data.split import CandidateMerge, EvaluationSet, part_candidates, split_sizes
from baldistill.data.staged_part import PartReport
from baldistill.data.staging import ReadPlan, count_segment, read_unit
from baldistill.data.summary import CorpusSummary
from baldistill.data.units import Segment, bundle, number, plan_segments, uncounted
from baldistill.data.validate import EVALUATION, TRAIN, Rules
from baldistill.data.write_corpus import PublishReport, publish_part
from baldistill.errors import DataError
from baldistill.records import QUARANTINE
from baldistill.run_folder import layout
from baldistill.storage import Storage

__all__ = ["CorpusSummary", "prepare_corpus"]

_FOLDERS = (
    layout.TRAIN,
    layout.EVALUATION,
    layout.QUARANTINE,
    f"{layout.STAGING}/rows",
    f"{layout.STAGING}/keys",
)


def prepare_corpus(
    config: DataConfig, seed: int, storage: Storage, track: Track = untracked
) -> CorpusSummary:
    """Read, validate, quarantine, normalise and split the corpus.

    Writes `corpus/train`, `corpus/evaluation` (records.EXAMPLES) and `quarantine`
    (records.QUARANTINE), folders of Parquet files; replaces what an earlier attempt left there.
    The set of rows in each is fixed by the files, the config and the seed; their order is not.

    Args:
        config: The `data` section of the config.
        seed: Of the split and of the bundled corpus.
        storage: The run's folder.
        track: Shows the progress of each pass.

    Raises:
        DataError: A corpus that cannot be used: what is wrong, where, and what to do.
    """
    for name in (*_FOLDERS, layout.STAGING, layout.BUNDLED_SOURCE):
        storage.delete(name)
    for name in _FOLDERS:
        storage.fs.create_dir(storage.path(name), recursive=True)
    try:
        if config.train == "bundled":
            config = write_bundled(config, seed, storage)
        return _prepare(config, seed, storage, track)
    finally:
        storage.delete(layout.STAGING)


def _prepare(config: DataConfig, seed: int, storage: Storage, track: Track) -> CorpusSummary:
    plan = _plan(config, track)
    reports = _read(plan, storage, track)
    check_share_bad(reports, config, storage)
    parts = [report.name for report in reports if report.num_valid]
    duplicates = _find_duplicates(reports, storage, track)
    chosen = _choose_evaluation(config, seed, parts, duplicates, storage, track)
    written = _publish(plan, parts, duplicates, chosen, storage, track)

    summary = _summarise(reports, written, config)
    if not summary.quarantined:
        storage.write_table(f"{layout.QUARANTINE}/none.parquet", QUARANTINE.empty_table())
    check_domains(summary)
    check_domain_tasks(summary, config)
    return summary


def _plan(config: DataConfig, track: Track) -> ReadPlan:
    """Find the files, look at each, and cut them into units."""
    columns = mapped_columns(config.columns, with_split=config.evaluation is None)
    evaluation_columns = mapped_columns(config.columns, with_split=False)
    train = find_files(_as_list(config.train), "train", config.format)
    evaluation = (
        find_files(_as_list(config.evaluation), "evaluation", config.format, len(train))
        if config.evaluation is not None
        else []
    )
    both = {file.path for file in train} & {file.path for file in evaluation}
    if both:
        raise DataError(
            f"{min(both)} is in data.train and in data.evaluation: to divide one file, leave "
            "data.evaluation out, or map data.columns.split"
        )
    kept = inspect_files(train, columns) + inspect_files(evaluation, evaluation_columns)
    files = {file.index: file for file in kept}
    segments = plan_segments(kept)
    open_segments = uncounted(segments)
    num_lines = dict(zip(open_segments, _count_lines(files, open_segments, track), strict=True))
    return ReadPlan(
        files=files,
        units=bundle(number(segments, num_lines)),
        columns=columns,
        evaluation_columns=evaluation_columns,
        rules=Rules(config.max_question_chars, config.max_answer_chars),
    )


def _count_lines(
    files: dict[int, SourceFile], segments: Sequence[Segment], track: Track
) -> list[int]:
    def task(index: int) -> Iterator[pa.Table]:
        segment = segments[index]
        count = count_segment(files[segment.file], segment)
        yield pa.table({"segment": [index], "lines": [count]})

    counts: dict[int, int] = {}
    for table in run_pass(task, len(segments), "count lines", track):
        counts |= zip(table["segment"].to_pylist(), table["lines"].to_pylist(), strict=True)
    return [counts[index] for index in range(len(segments))]


def _read(plan: ReadPlan, storage: Storage, track: Track) -> list[PartReport]:
    shared = ray.put(plan)

    def task(unit: int) -> Iterator[pa.Table]:
        for report in read_unit(ray.get(shared), storage, unit):
            yield as_row(report)

    reports: list[PartReport] = []
    for values in reports_of(run_pass(task, len(plan.units), "read and check", track)):
        report = PartReport(**values)
        if report.error is not None:
            raise DataError(report.error)
        reports.append(report)
    return sorted(reports, key=lambda report: report.name)


def _find_duplicates(
    reports: Sequence[PartReport], storage: Storage, track: Track
) -> ray.ObjectRef[Duplicates]:
    groups = group_parts(reports)
    num_partitions = count_partitions(sum(report.num_keys for report in reports))
    partitions: list[int | None] = list(range(num_partitions))
    names = [f"group-{number:06d}" for number in range(len(groups))]
    if num_partitions == 1:
        partitions, names = [None], [name for group in groups for name in group]
    else:

        def divide(number: int) -> Iterator[pa.Table]:
            count = divide_keys(storage, groups[number], num_partitions, names[number])
            yield pa.table({"keys": [count]})

        counts = run_pass(divide, len(groups), "divide keys", track)
        assert sum(pc.sum(table["keys"]).as_py() for table in counts) == sum(
            report.num_keys for report in reports
        )

    def search(number: int) -> Iterator[pa.Table]:
        yield repeated_keys(storage, names, partitions[number])

    tables = pass_refs(search, num_partitions)
    # DEFAULT: anywhere, also where a Ray Tune trial would keep it in its own placement group
    return ray.remote(gather).options(scheduling_strategy="DEFAULT").remote(*tables)


def _choose_evaluation(
    config: DataConfig,
    seed: int,
    parts: Sequence[str],
    duplicates: ray.ObjectRef[Duplicates],
    storage: Storage,
    track: Track,
) -> pa.Table:
    most = config.evaluation_max_per_domain
    seeded = config.evaluation is None and config.columns.split is None
    role = TRAIN if seeded else EVALUATION

    def task(index: int) -> Iterator[pa.Table]:
        yield part_candidates(storage, parts[index], ray.get(duplicates), role, seed, most)

    merge = CandidateMerge(most)
    for table in run_pass(task, len(parts), "choose evaluation set", track):
        merge.add(table)
        check_num_domains(len(merge.counts), config)
    if seeded:
        chosen = merge.top(split_sizes(merge.counts, config.evaluation_fraction, most))
    else:
        chosen = merge.top(dict.fromkeys(merge.counts, most))
    check_evaluation(len(chosen), sum(merge.counts.values()), config)
    return chosen


def _publish(
    plan: ReadPlan,
    parts: Sequence[str],
    duplicates: ray.ObjectRef[Duplicates],
    chosen: pa.Table,
    storage: Storage,
    track: Track,
) -> list[PublishReport]:
    names = ray.put({file.index: file.shown for file in plan.files.values()})
    evaluation = ray.put(EvaluationSet.of(chosen))

    def task(index: int) -> Iterator[pa.Table]:
        report = publish_part(
            storage, parts[index], ray.get(names), ray.get(duplicates), ray.get(evaluation)
        )
        yield as_row(report)

    tables = run_pass(task, len(parts), "write corpus", track)
    return [PublishReport(**values) for values in reports_of(tables)]


def _summarise(
    read: Sequence[PartReport], written: Sequence[PublishReport], config: DataConfig
) -> CorpusSummary:
    counts = _total(report.train for report in written)
    evaluation_counts = _total(report.evaluation for report in written)
    num_capped = sum(report.num_capped for report in written)
    warnings = warnings_of(counts, evaluation_counts, num_capped, config)
    if config.columns.choices is not None and not any(r.num_with_choices for r in written):
        warnings.append(f"no row has choices in `{config.columns.choices}` (data.columns.choices)")
    summary = CorpusSummary(
        num_rows_read=sum(report.num_read for report in read),
        counts=counts,
        evaluation_counts=evaluation_counts,
        quarantined=_total([*(r.bad for r in read), *(r.quarantined for r in written)]),
        num_capped=num_capped,
        warnings=warnings,
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


def _as_list(sources: str | Sequence[str]) -> list[str]:
    return [sources] if isinstance(sources, str) else list(sources)
