"""Selection: candidates, their scores, the best of each domain.

Everything that touches the corpus is a Ray Data pass over its Parquet files; what reaches the
driver is bounded by candidates_per_quota x B rows (without it by the corpus, which `plan_all` then
bounds). A hundred million rows are read once a stage for the candidates: the pass is bound by
reading three columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data

from baldistill.core.selection import hash_score, merge_top_k, partial_top_k
from baldistill.pipeline.context import Context, stage_dir
from baldistill.pipeline.counter import counted
from baldistill.pipeline.plan import StagePlan
from baldistill.records import EXAMPLES, SCORED
from baldistill.storage import Storage
from baldistill.student.respond import score_responses

SPARES = 8  # candidates beyond the quota, at least, to refill dropped rows from
_READ_ROWS = 65_536
WAITING_CPUS = 0.25  # of a task that only waits for engines


def read_corpus(
    storage: Storage,
    part: str = "train",
    each: Callable[[pa.Table], pa.Table] = lambda block: block,
) -> ray.data.Dataset:
    """The validated corpus of a run folder (`train`) or its evaluation set (`evaluation`).

    A task for each file, of at most half a million rows, which come in blocks. Ray Data's own
    `read_parquet` lists, samples and plans anew for every pass: a second each on a laptop, where
    this takes a twentieth.

    Args:
        storage: The run folder's.
        part: Which of the two.
        each: Applied to every block as it is read: what it leaves out is nowhere held.
    """

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        for name in batch["name"].to_pylist():
            with storage.fs.open_input_file(storage.path(f"corpus/{part}/{name}")) as stream:
                for rows in pq.ParquetFile(stream).iter_batches(_READ_ROWS, use_threads=False):
                    yield each(pa.Table.from_batches([rows]))
        pa.default_memory_pool().release_unused()  # the worker lives on

    names = [{"name": name} for name in storage.list(f"corpus/{part}")]
    files = ray.data.from_items(names, override_num_blocks=len(names))
    return files.map_batches(read, batch_size=1, batch_format="pyarrow")


def score_candidates(context: Context, plan: StagePlan) -> dict[str, Any]:
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
        tried=context.tried_before(stage),
        seed=context.seed("candidates", stage),
    )
    is_head = pc.is_in(candidates["domain"], pa.array(sorted(plan.head), pa.string()))
    by_metric = uses_metric(context, stage)
    head = candidates.filter(is_head) if by_metric else candidates.slice(0, 0)
    rest = candidates.filter(pc.invert(is_head)) if by_metric else candidates
    target = f"{stage_dir(stage)}/scored"
    context.storage.delete(target)
    context.storage.write_table(f"{target}/by-hash.parquet", _unscored(rest))
    undefined = 0
    if len(head):
        undefined = _score(context, plan, head.select(EXAMPLES.names), target)
    return {"candidates": len(candidates), "scored": len(head), "undefined": undefined}


def uses_metric(context: Context, stage: int) -> bool:
    """Whether this stage's head domains are selected by the student's scores."""
    selection = context.config.selection
    if selection.metric == "random":
        return False
    return stage > 1 or selection.first_stage == "metric"


def candidate_counts(plan: StagePlan, per_quota: float | None) -> dict[str, int]:
    """Candidates of each domain: a multiple of a head quota, all that is left of a tail."""
    counts = {domain: tail.real for domain, tail in plan.tail.items()}
    for domain, quota in plan.head.items():
        unused = plan.unused[domain]
        wanted = unused if per_quota is None else max(math.ceil(quota * per_quota), quota + SPARES)
        counts[domain] = min(unused, wanted) if quota else 0
    return counts


def sample(
    storage: Storage,
    wanted: Mapping[str, int],
    unused: Mapping[str, int],
    *,
    tried: set[str],
    seed: int,
) -> pa.Table:
    """A uniform sample of the untried rows of each domain, exact and in one streaming pass.

    The k rows with the highest hash are a random sample of k. Of n uniform hashes, the k-th
    highest lies above 1 - (k + 6 sqrt(k) + 10) / n but for one case in 10^8, so blocks keep
    only rows above that and the driver receives hardly more than it keeps, whatever the size
    of the corpus. Should a domain come short all the same, the pass is made without the bound.

    Args:
        storage: The run folder's.
        wanted: Rows of each domain; at most what is unused.
        unused: Untried rows of each domain.
        tried: Ids to leave out.
        seed: Of the hash.

    Returns:
        Rows of `records.EXAMPLES` with their `score`, sorted by domain and rank.
    """
    bounds = {
        domain: 1 - (k + 6 * math.sqrt(k) + 10) / unused[domain]
        for domain, k in wanted.items()
        if k
    }
    shared = ray.put((dict(wanted), pa.array(sorted(tried), pa.string()), seed))
    for floor in (bounds, dict.fromkeys(bounds, 0.0)):
        parts = read_corpus(storage, each=partial(_above, shared=shared, floor=floor))
        tables = [part for part in ray.get(parts.to_arrow_refs()) if len(part)]
        if not tables:
            return pa.table(
                [pa.array([], field.type) for field in (*EXAMPLES, SCORED.field("score"))],
                names=[*EXAMPLES.names, "score"],
            )
        best = merge_top_k(tables, "score", wanted)
        found = dict(
            zip(*(c.to_pylist() for c in pc.value_counts(best["domain"]).flatten()), strict=True)
        )
        if all(found.get(domain, 0) == k for domain, k in wanted.items() if k):
            break
    return best


def _above(block: pa.Table, shared: Any, floor: Mapping[str, float]) -> pa.Table:
    """The rows of a block that can be among the wanted."""
    wanted, tried, seed = shared if isinstance(shared, tuple) else ray.get(shared)
    names = sorted(floor)
    block = block.select(EXAMPLES.names).cast(EXAMPLES)
    code = pc.index_in(block["domain"], pa.array(names, pa.string()))
    keep = pc.and_(pc.is_valid(code), pc.invert(pc.is_in(block["example_id"], tried)))
    rows = np.flatnonzero(keep.to_numpy())
    block, code = block.take(rows), code.take(pa.array(rows)).to_numpy()
    scores = hash_score(seed, block["example_id"])
    limits = np.array([floor[name] for name in names])
    kept = np.flatnonzero(scores >= limits[code.astype(np.int64)]) if len(rows) else rows
    block = block.take(kept).append_column(SCORED.field("score"), pa.array(scores[kept]))
    return partial_top_k(block, "score", wanted)


def _score(context: Context, plan: StagePlan, head: pa.Table, target: str) -> int:
    """Let the current student answer the candidates; returns how many have no score."""
    config, storage = context.config, context.storage
    pool = context.engines.student(context.student(plan.stage - 1))
    metric = config.selection.metric
    assert metric != "random"

    def score(batch: pa.Table) -> pa.Table:
        return score_responses(batch, pool, prompts, sampling, seed=seed, metric=metric)

    prompts, sampling, counter = context.student_prompts, context.response, context.counter
    seed = context.seed("response", plan.stage)
    with context.display.remote_task("score candidates", len(head), counter):
        ray.data.from_arrow(head).map_batches(
            counted(score, counter),
            batch_format="pyarrow",
            batch_size=pool.feed_size,
            num_cpus=WAITING_CPUS,
        ).write_parquet(storage.path(target), filesystem=storage.fs)
    scores = storage.read_table(target, columns=["score", "response"])
    defined = pc.and_(pc.is_valid(scores["score"]), pc.is_finite(scores["score"]))
    return int(pc.sum(pc.and_(pc.is_valid(scores["response"]), pc.invert(defined))).as_py() or 0)


def _unscored(candidates: pa.Table) -> pa.Table:
    """Candidates with the hash as their score, in the schema of scored ones."""
    arrays = [
        candidates[field.name].cast(field.type)
        if field.name in candidates.column_names
        else pa.nulls(len(candidates), field.type)
        for field in SCORED
    ]
    return pa.table(arrays, schema=SCORED)


def select(context: Context, plan: StagePlan) -> dict[str, Any]:
    """Rank the scored candidates of each domain; writes `selected.parquet`.

    The first rows of a domain fill its quota; those behind are spares that replace what the
    teacher cannot explain.
    """
    folder = stage_dir(plan.stage)
    scored = context.storage.read_table(f"{folder}/scored").cast(SCORED)
    ranked = partial_top_k(scored, "score", candidate_counts(plan, None))
    ranks = np.arange(len(ranked)) - np.searchsorted(
        codes := ranked["domain"].dictionary_encode().combine_chunks().indices.to_numpy(), codes
    )
    ranked = ranked.append_column("rank", pa.array(ranks.astype(np.int32)))
    context.storage.write_table(f"{folder}/selected.parquet", ranked)
    quota = {**plan.head, **{domain: tail.real for domain, tail in plan.tail.items()}}
    chosen = [
        rank < quota.get(domain, 0)
        for domain, rank in zip(ranked["domain"].to_pylist(), ranks.tolist(), strict=True)
    ]
    return {"ranked": len(ranked), "selected": sum(chosen)}
