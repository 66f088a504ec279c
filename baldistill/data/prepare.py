"""`prepare_corpus`: the user's files to a clean corpus, an evaluation set and a quarantine table.

Four passes follow each other, each of independent tasks (`ray_pass.py`). Before them the lines of
big JSONL files are counted, so that line numbers are exact wherever a file is cut.

1. read: each unit of 32 MiB is parsed, checked, normalised and staged; bad rows are written to
   the quarantine folder (`read_unit.py`).
2. duplicates: each range of the key space is searched for keys that occur twice
   (`duplicates.py`). If there are more than 2 M rows, a pass before it divides their keys by range.
   By option, further passes look for near duplicates, and for rows that hold a question of the
   evaluation set (`cleaning.py`).
3. split: each part gives its top-k of every domain by a seeded hash, and the driver merges them
   (`split.py`).
   Before it, a corpus without a column of domains gets them by two passes (`made_domains.py`).
4. write: the rows of each part go to the corpus, the evaluation set or the quarantine table
   (`write_corpus.py`).

Data that grows with the corpus is on storage. The driver holds the list of files and units (1,600
for 100 M rows of 500 bytes), one report a part, the counts by domain and the evaluation set. A
worker holds a block of rows, a partition of the key space (32 MB) and a part's columns of keys, and
maps the repeated keys as shared memory. Passes 2 and 3 read only the columns of keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import ray

from baldistill.config import DataConfig
from baldistill.data.cleaning import find_leaks, find_near_duplicates
from baldistill.data.contamination import find_references
from baldistill.data.corpus_checks import (
    check_domain_tasks,
    check_domains,
    check_evaluation,
    check_namer,
    check_num_domains,
    check_share_bad,
    warnings_of,
)
from baldistill.data.duplicates import Duplicates, search_keys
from baldistill.data.file_format import inspect_files
from baldistill.data.gold_answers import ALTERNATIVES
from baldistill.data.likelihood_bins import Scorer
from baldistill.data.made_domains import make_domains
from baldistill.data.named_domains import Namer
from baldistill.data.near_duplicates import Neighbours
from baldistill.data.ray_pass import Track, run_tasks, untracked
from baldistill.data.read_unit import ReadPlan, count_segment, read_unit
from baldistill.data.rows import mapped_columns
from baldistill.data.sources import find_files, write_bundled
from baldistill.data.split import (
    CandidateMerge,
    Candidates,
    EvaluationSet,
    part_candidates,
    split_sizes,
)
from baldistill.data.staged_part import ReadReport
from baldistill.data.summary import CorpusSummary, summarise
from baldistill.data.units import (
    Segment,
    group_segments,
    number_rows,
    plan_segments,
    segments_to_count,
)
from baldistill.data.validate import EVALUATION, MAX_FILES, TRAIN
from baldistill.data.write_corpus import Cleaned, WriteReport, write_part
from baldistill.errors import DataError
from baldistill.records import QUARANTINE
from baldistill.run_folder import layout
from baldistill.storage import Storage

_FOLDERS = (
    layout.TRAIN,
    layout.EVALUATION,
    layout.QUARANTINE,
    f"{layout.STAGING}/rows",
    f"{layout.STAGING}/keys",
)


def prepare_corpus(
    config: DataConfig,
    seed: int,
    storage: Storage,
    track: Track = untracked,
    scorer: Scorer | None = None,
    namer: Namer | None = None,
) -> CorpusSummary:
    """Read, validate, quarantine, normalise and split the corpus.

    Writes `corpus/train`, `corpus/evaluation` (records.EXAMPLES) and `quarantine`
    (records.QUARANTINE), folders of Parquet files, and replaces what an earlier attempt left there.
    The files, the config and the seed fix the set of rows in each folder, but not their order.
    `scorer` says how likely questions are, where domains are made of that (`data.domains`), and
    `namer` which of the named domains they are of.

    Raises:
        DataError: The corpus cannot be used; says what is wrong, where, and what to do.
    """
    check_namer(config, namer)
    for name in (*_FOLDERS, layout.STAGING, layout.BUNDLED_SOURCE, layout.DOMAINS):
        storage.delete(name)
    for name in _FOLDERS:
        storage.fs.create_dir(storage.path(name), recursive=True)
    try:
        if config.train == "bundled":
            config = write_bundled(config, seed, storage)
        return _prepare(config, seed, storage, track, scorer, namer)
    finally:
        storage.delete(layout.STAGING)


def _prepare(
    config: DataConfig,
    seed: int,
    storage: Storage,
    track: Track,
    scorer: Scorer | None,
    namer: Namer | None,
) -> CorpusSummary:
    plan = _plan(config, track)
    reports = _read(plan, storage, track)
    check_share_bad(reports, config, storage)
    parts = [report.name for report in reports if report.num_valid]
    num_valid = sum(report.num_valid for report in reports)
    doubts = make_domains(config, seed, parts, num_valid, storage, track, scorer, namer)
    duplicates = search_keys(reports, storage, track, "group")
    near = ray.put(Neighbours.none())
    if config.near_duplicates is not None:
        near = find_near_duplicates(config.near_duplicates, parts, duplicates, storage, track)
    chosen = _choose_evaluation(config, seed, parts, duplicates, near, storage, track)
    evaluation = ray.put(EvaluationSet.of(chosen))
    leaks, odd = find_leaks(config, plan.references, parts, evaluation, storage)
    optional = set[str]().union(*(report.optional for report in reports))
    written = _write_corpus(
        plan, parts, duplicates, evaluation, (near, *leaks), optional, storage, track
    )

    summary = summarise(reports, written)
    has_choices = any(report.num_with_choices for report in written)
    warnings = [*warnings_of(summary, config, has_choices=has_choices), *odd, *doubts]
    summary = replace(summary, warnings=warnings, several_answers=ALTERNATIVES in optional)
    if not summary.quarantined:
        storage.write_table(f"{layout.QUARANTINE}/none.parquet", QUARANTINE.empty_table())
    check_domains(summary)
    check_domain_tasks(summary, config)
    return summary


def _plan(config: DataConfig, track: Track) -> ReadPlan:
    """Find the files, look at each, and cut them into units."""
    train = find_files(config.train, "train", config.format)
    evaluation = find_files(config.evaluation or (), "evaluation", config.format, len(train))
    references = find_references(config, len(train) + len(evaluation))
    if len(train) + len(evaluation) + len(references) > MAX_FILES:
        raise DataError(f"data.train: more than {MAX_FILES:,} files; put them together")
    both = {file.path for file in train} & {file.path for file in evaluation}
    if both:
        raise DataError(
            f"{min(both)} is in data.train and in data.evaluation: to divide one file, leave "
            "data.evaluation out, or map data.columns.split"
        )
    found = [
        *inspect_files(train, mapped_columns(config, "train")),
        *inspect_files(evaluation, mapped_columns(config, "evaluation")),
    ]
    files = {file.index: file for file in found}
    segments = plan_segments(found)
    cut_files = segments_to_count(segments)

    def count(index: int) -> Iterator[tuple[Segment, int]]:
        segment = cut_files[index]
        yield segment, count_segment(files[segment.file], segment)

    num_lines = dict(run_tasks(count, len(cut_files), "count lines", track))
    units = group_segments(number_rows(segments, num_lines))
    return ReadPlan(files, units, config, references)


def _read(plan: ReadPlan, storage: Storage, track: Track) -> list[ReadReport]:
    shared = ray.put(plan)

    def task(unit: int) -> Iterator[ReadReport]:
        return read_unit(ray.get(shared), storage, unit)

    reports: list[ReadReport] = []
    for report in run_tasks(task, len(plan.units), "read and check", track):
        if report.error is not None:
            raise DataError(report.error)
        reports.append(report)
    return sorted(reports, key=lambda report: report.name)


def _choose_evaluation(
    config: DataConfig,
    seed: int,
    parts: Sequence[str],
    duplicates: ray.ObjectRef[Duplicates],
    near: ray.ObjectRef[Neighbours],
    storage: Storage,
    track: Track,
) -> pa.Table:
    most = config.evaluation_max_per_domain
    seeded = config.evaluation is None and config.columns.split is None
    role, by_chat = (TRAIN if seeded else EVALUATION), config.columns.each_turn

    def task(index: int) -> Iterator[Candidates]:
        yield part_candidates(
            storage,
            parts[index],
            ray.get(duplicates),
            role,
            seed,
            most,
            by_chat=by_chat,
            near=ray.get(near),
        )

    merge = CandidateMerge(most)
    for candidates in run_tasks(task, len(parts), "choose evaluation set", track):
        merge.add(candidates)
        check_num_domains(len(merge.counts), config)
    if seeded:
        chosen = merge.top(split_sizes(merge.counts, config.evaluation_fraction, most))
    else:
        chosen = merge.top(dict.fromkeys(merge.counts, most))
    check_evaluation(len(chosen), sum(merge.counts.values()), config)
    return chosen


def _write_corpus(
    plan: ReadPlan,
    parts: Sequence[str],
    duplicates: ray.ObjectRef[Duplicates],
    evaluation: ray.ObjectRef[EvaluationSet],
    cleaned: Sequence[ray.ObjectRef[Neighbours]],
    optional: set[str],
    storage: Storage,
    track: Track,
) -> list[WriteReport]:
    files = [*plan.files.values(), *plan.references]
    names = ray.put({file.index: file.shown for file in files})

    def task(index: int) -> Iterator[WriteReport]:
        yield write_part(
            storage,
            parts[index],
            ray.get(names),
            ray.get(duplicates),
            ray.get(evaluation),
            optional,
            Cleaned(*ray.get(list(cleaned))),
        )

    return list(run_tasks(task, len(parts), "write corpus", track))
