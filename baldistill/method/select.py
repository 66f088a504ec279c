"""Selection: candidates, their scores, the best of each domain.

Everything that touches the corpus is a Ray Data pass over its Parquet files; what reaches the
driver is bounded by candidates_per_quota x B rows (without it by the corpus, which `plan_all` then
bounds). A hundred million rows are read once a stage for the candidates: the pass is bound by
reading three columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from baldistill.config import Config
from baldistill.core.own_parts import OwnPartError
from baldistill.core.own_score import Candidate, OwnScore, own_scores
from baldistill.core.selection import partial_top_k
from baldistill.data.corpus import sample
from baldistill.errors import ConfigError
from baldistill.generation.types import ModelRef
from baldistill.method.context import Context
from baldistill.method.diversity import thin, uses_diversity
from baldistill.method.earlier import tried_before
from baldistill.method.filling import SPARES
from baldistill.method.plan import StagePlan
from baldistill.progress.counter import Report, counted
from baldistill.records import EXAMPLES, SCORED, as_rows_of, with_optional
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage
from baldistill.student.score import score_responses

WAITING_CPUS = 0.25  # of a task that only waits for engines


@dataclass(frozen=True, slots=True)
class Scored:
    """Counts of a stage's candidates.

    Attributes:
        candidates: Rows that were sampled.
        scored: Of them, those that the student answered.
        undefined: Of these, those whose answer has no score.
    """

    candidates: int
    scored: int
    undefined: int

    def describe_undefined(self, metric: str, ceiling: float | None = None) -> str:
        """Say how many candidates could not be scored, or are above the ceiling."""
        above = "" if ceiling is None else f", or above selection.ceiling={ceiling:g}"
        return (
            f"{self.undefined:,} of {self.scored:,} candidates have no {metric} (the answer is "
            f"empty or one token{above}): they rank last"
        )


@dataclass(frozen=True, slots=True)
class Selected:
    """Counts of the candidates that were ranked, and of those that fill the quotas.

    Attributes:
        embedded: Of the best, those among which `selection.diversity` chose.
    """

    ranked: int
    selected: int
    embedded: int = 0


def score_candidates(context: Context, plan: StagePlan) -> Scored:
    """Sample candidates of each domain and score them; writes `scored/`.

    Tail domains and random selection need no student: their score is the seeded hash that drew
    the candidates.
    """
    config, stage = context.config, plan.stage
    wanted = candidate_counts(plan, config.selection.candidates_per_quota)
    candidates = sample(
        context.storage,
        wanted,
        plan.unused,
        tried=tried_before(context.storage, stage),
        seed=context.seed("candidates", stage),
    )
    is_head = pc.is_in(candidates["domain"], pa.array(sorted(plan.head), pa.string()))
    by_metric = uses_metric(config, stage)
    head = candidates.filter(is_head) if by_metric else candidates.slice(0, 0)
    rest = candidates.filter(pc.invert(is_head)) if by_metric else candidates
    target = StageLayout(stage).scored
    context.storage.delete(target)
    context.storage.write_table(f"{target}/by-hash.parquet", _unscored(rest))
    undefined = 0
    if len(head):
        undefined = _score(context, plan, as_rows_of(EXAMPLES, head), target)
    return Scored(len(candidates), len(head), undefined)


def uses_metric(config: Config, stage: int) -> bool:
    """Return whether a stage selects its head domains by the student's scores."""
    selection = config.selection
    return selection.metric != "random" and (stage > 1 or selection.first_stage == "metric")


def candidate_counts(plan: StagePlan, per_quota: float | None) -> dict[str, int]:
    """Return candidates of each domain: a multiple of a head quota, all that is left of a tail."""
    counts = {d: min(tail.real, plan.unused[d]) for d, tail in plan.tail.items()}
    for domain, quota in plan.head.items():
        unused = plan.unused[domain]
        wanted = unused if per_quota is None else max(math.ceil(quota * per_quota), quota + SPARES)
        counts[domain] = min(unused, wanted) if quota else 0
    return counts


def _score(context: Context, plan: StagePlan, head: pa.Table, target: str) -> int:
    """Let the current student answer the candidates; returns how many have no score."""
    config, storage = context.config, context.storage
    by = config.selection.by
    scorer = context.student(plan.stage - 1) if by == "student" else ModelRef(by)
    pool = context.engines.student(scorer)

    def score(batch: pa.Table, report: Report) -> pa.Table:
        reporting = pool.reporting_to(report)
        return score_responses(batch, reporting, prompts, sampling, config, seed)

    prompts, sampling, counter = context.student_prompts, context.response, context.counter
    seed = context.seed("response", plan.stage)
    with context.display.remote_task("score candidates", len(head), counter):
        ray.data.from_arrow(head).map_batches(
            counted(score, counter),
            batch_format="pyarrow",
            batch_size=pool.feed_size,
            num_cpus=WAITING_CPUS,
        ).write_parquet(storage.path(target), filesystem=storage.fs)
    if isinstance(config.selection.metric, OwnScore):
        _score_by_own(config.selection.metric, config.selection.ceiling, storage, target)
    scores = storage.read_table(target, columns=["score", "response"])
    defined = pc.and_(pc.is_valid(scores["score"]), pc.is_finite(scores["score"]))
    return int(pc.sum(pc.and_(pc.is_valid(scores["response"]), pc.invert(defined))).as_py() or 0)


def _score_by_own(score: OwnScore, ceiling: float | None, storage: Storage, target: str) -> None:
    """Replace the IFD of the scored candidates by a user's score, in the driver."""
    scored = storage.read_table(target).sort_by(
        [("domain", "ascending"), ("example_id", "ascending")]
    )
    answered = scored.filter(pc.is_valid(scored["response"]))
    rows = answered.to_pylist()
    names = [field.name for field in fields(Candidate) if field.name != "ifd"]
    candidates = []
    for row in rows:
        known = {name: _known(row[name]) for name in names}
        candidates.append(Candidate(**known, ifd=_known(row["score"])))
    try:
        values = np.array(own_scores(score, candidates), dtype=np.float64)
    except OwnPartError as error:
        raise ConfigError(f"selection.metric: {error}") from error
    undefined = [
        row["error"] is not None or (ceiling is not None and candidate.ifd is None)
        for row, candidate in zip(rows, candidates, strict=True)
    ]
    values[np.array(undefined, dtype=bool)] = np.nan
    place = answered.schema.get_field_index("score")
    answered = answered.set_column(place, answered.schema.field("score"), pa.array(values))
    others = scored.filter(pc.is_null(scored["response"]))
    storage.delete(target)
    storage.write_table(f"{target}/scored.parquet", pa.concat_tables([answered, others]))


def _known(value: Any) -> Any:
    """Return None for what is not a number."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _unscored(candidates: pa.Table) -> pa.Table:
    """Return candidates with the hash as their score, in the schema of scored ones."""
    schema = with_optional(SCORED, candidates.column_names)
    arrays = [
        candidates[field.name].cast(field.type)
        if field.name in candidates.column_names
        else pa.nulls(len(candidates), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def select(context: Context, plan: StagePlan) -> Selected:
    """Rank the scored candidates of each domain; writes `selected.parquet`.

    The first rows of a domain fill its quota; those behind are spares that replace what the
    teacher cannot explain. With `selection.diversity`, the first ones are those that differ.
    """
    names = StageLayout(plan.stage)
    scored = context.storage.read_table(names.scored)
    if "correct" not in scored.column_names:  # an earlier version scored them
        scored = scored.append_column(SCORED.field("correct"), pa.nulls(len(scored), pa.bool_()))
    scored = as_rows_of(SCORED, scored)
    ranked = partial_top_k(scored, "score", candidate_counts(plan, None))
    embedded = 0
    if uses_diversity(context.config, plan.stage):
        ranked, embedded = thin(context, plan, ranked)
    ranks = np.arange(len(ranked)) - np.searchsorted(
        codes := ranked["domain"].dictionary_encode().combine_chunks().indices.to_numpy(), codes
    )
    ranked = ranked.append_column("rank", pa.array(ranks.astype(np.int32)))
    context.storage.write_table(names.selected, ranked)
    quota = {**plan.head, **{domain: tail.real for domain, tail in plan.tail.items()}}
    chosen = [
        rank < quota.get(domain, 0)
        for domain, rank in zip(ranked["domain"].to_pylist(), ranks.tolist(), strict=True)
    ]
    return Selected(len(ranked), sum(chosen), embedded)
