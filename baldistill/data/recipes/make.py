"""Write a corpus: `train.parquet`, `evaluation.parquet` and the config that reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.config import Config, DataConfig
from baldistill.core.longtail import random_sizes, sizes_by_share, zipf_sizes
from baldistill.data.long_tail import count_domains, write_sample
from baldistill.data.prepare import prepare_corpus
from baldistill.data.ray_pass import Track, untracked
from baldistill.data.recipes.catalogue import Recipe
from baldistill.data.recipes.row import CORPUS, ROLES, Row
from baldistill.data.sources import Role
from baldistill.errors import DataError
from baldistill.records import OPTIONAL
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.yaml12 import write_yaml

_ROWS = 2000
_STAGING = ".staging"


@dataclass(frozen=True, slots=True)
class Made:
    """A corpus that was written: the path of its config, and its rows by domain.

    `left_out` are the domains of the source that only one of the two parts has.
    """

    config: str
    counts: dict[str, int]
    evaluation_counts: dict[str, int]
    left_out: list[str]


def make_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    seed: int = 0,
    alpha: float | None = None,
    mirror: str | None = None,
    track: Track = untracked,
) -> Made:
    """Read the sources of a corpus of the paper and write it to the folder `out`.

    `alpha` is a Zipf exponent in place of the recipe's own cut, `mirror` a folder with copies of
    the sources in place of the hub. The seed decides which rows a domain keeps.

    Raises:
        MissingPackageError: `datasets` is not installed.
        DataError: A source cannot be read, or its rows have another form than expected.
    """
    folder = Storage.open(out)
    staging = folder.sub(_STAGING)
    try:
        for role in ROLES:
            _stage(recipe, role, mirror, staging, track)
        files = {role: [staging.path(f"{role}.parquet")] for role in ROLES}
        counts = count_domains(staging.fs, files["train"])
        evaluation = count_domains(staging.fs, files["evaluation"])
        both = {domain: count for domain, count in counts.items() if domain in evaluation}
        if not both:
            raise DataError(f"{recipe.name}: no domain has rows to train on and to evaluate on")
        sizes = _cut(recipe, both, seed) if alpha is None else zipf_sizes(both, alpha)
        write_sample(staging.fs, files["train"], sizes, seed, folder, "train.parquet")
        tested = {domain: evaluation[domain] for domain in both}
        if recipe.drawn is not None:
            tested = random_sizes(tested, recipe.drawn, seed)
        write_sample(staging.fs, files["evaluation"], tested, seed, folder, "evaluation.parquet")
    finally:
        folder.delete(_STAGING)
    left_out = sorted((counts.keys() | evaluation.keys()) - both.keys())
    columns = {"id": "id"}
    if recipe.task == "multiple_choice":
        columns["choices"] = "choices"
    data = {"task": recipe.task, "columns": columns}
    return _finish(folder, recipe.name, data, recipe.budgets[0], sizes, tested, left_out)


def make_long_tailed(
    config: Config, out: str | Path, *, alpha: float, track: Track = untracked
) -> Made:
    """Make the corpus of a config long-tailed; needs a running Ray.

    The corpus is read, validated and split as in a run. Then the training part is cut to Zipf
    sizes with the exponent `alpha`. Of the config, `data` and `seed` are used.

    Raises:
        DataError: The corpus cannot be used.
        ValueError: `alpha` is negative or not finite.
    """
    folder = Storage.open(out)
    staging = folder.sub(_STAGING)
    try:
        summary = prepare_corpus(config.data, config.seed, staging, track)
        sizes = zipf_sizes(summary.counts, alpha)
        tested = summary.evaluation_counts
        for part, source, wanted in (
            ("train", layout.TRAIN, sizes),
            ("evaluation", layout.EVALUATION, tested),
        ):
            names = [f"{source}/{name}" for name in staging.list(source)]
            files = [staging.path(name) for name in names]
            write_sample(
                staging.fs,
                files,
                wanted,
                config.seed,
                folder,
                f"{part}.parquet",
                "example_id",
                as_source,
            )
    finally:
        folder.delete(_STAGING)
    columns = {"id": "example_id"}
    if config.data.columns.choices is not None:
        columns["choices"] = "choices"
    if config.data.columns.messages is not None:
        columns |= {"messages": "messages", "answer": "answer"}
    data = {
        "task": config.data.task,
        "domain_tasks": dict(config.data.domain_tasks),
        "columns": columns,
    }
    return _finish(folder, config.name, data, config.budget.total, sizes, tested, [])


def as_source(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows of a corpus as a user's file has them.

    Acceptable answers make one list, and the context and the question of a chat are its turns.
    """
    columns = {name: rows.column(name) for name in rows.schema.names if name not in OPTIONAL.names}
    further = rows.column("alternatives").to_pylist() if "alternatives" in rows.schema.names else []
    if further:
        first = columns["answer"].to_pylist()
        columns["answer"] = pa.array([[a, *(b or ())] for a, b in zip(first, further, strict=True)])
    if "context" in rows.schema.names:
        field = OPTIONAL.field("context")
        before, asked = rows.column("context").to_pylist(), columns["question"].to_pylist()
        turns = [[*(c or ()), _user(q)] for c, q in zip(before, asked, strict=True)]
        columns["messages"] = pa.array(turns, field.type)
    return pa.RecordBatch.from_pydict(columns)


def _user(question: str) -> dict[str, str]:
    return {"role": "user", "content": question}


def _cut(recipe: Recipe, counts: Mapping[str, int], seed: int) -> dict[str, int]:
    """Return how many training rows of each domain a recipe keeps."""
    if recipe.sizes:
        return {domain: min(count, recipe.sizes[domain]) for domain, count in counts.items()}
    if recipe.shares:
        return sizes_by_share(counts, recipe.shares)
    return dict(counts) if recipe.drawn is None else random_sizes(counts, recipe.drawn, seed)


def _stage(recipe: Recipe, role: Role, mirror: str | None, staging: Storage, track: Track) -> None:
    """Write one part of all sources, uncut."""
    staging.fs.create_dir(staging.path(), recursive=True)
    path = staging.path(f"{role}.parquet")
    with (
        track(f"read {role}", len(recipe.sources)) as task,
        pq.ParquetWriter(path, CORPUS, filesystem=staging.fs) as writer,
    ):
        numbers: Counter[str] = Counter()
        for source in recipe.sources:
            rows = _numbered(source.read(role, mirror), role, numbers)
            while batch := list(islice(rows, _ROWS)):
                writer.write_table(pa.Table.from_pylist(batch, CORPUS))
            task.advance()


def _numbered(rows: Iterable[Row], role: Role, numbers: Counter[str]) -> Iterator[dict[str, Any]]:
    """Add ids: domain, part, and the row's number there in the source's order."""
    for row in rows:
        numbers[row.domain] += 1
        yield {
            "id": f"{row.domain}-{role}-{numbers[row.domain]:06d}",
            "domain": row.domain,
            "question": row.question,
            "answer": row.answer,
            "choices": None if row.choices is None else list(row.choices),
        }


def _finish(
    folder: Storage,
    name: str,
    data: dict[str, Any],
    budget: int,
    counts: dict[str, int],
    evaluation_counts: dict[str, int],
    left_out: list[str],
) -> Made:
    most = max(evaluation_counts.values())
    values: dict[str, Any] = {
        "name": name,
        "data": {
            "train": f"{folder.uri}/train.parquet",
            "evaluation": f"{folder.uri}/evaluation.parquet",
            "format": "parquet",
            **{key: value for key, value in data.items() if value},
            "evaluation_max_per_domain": max(most, DataConfig().evaluation_max_per_domain),
        },
        "budget": {"total": budget},
    }
    Config.model_validate(values)
    folder.write_text("config.yaml", write_yaml(values))
    return Made(f"{folder.uri}/config.yaml", counts, evaluation_counts, left_out)
