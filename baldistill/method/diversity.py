"""Thin the best candidates of each head domain, so that those that are annotated differ.

Only they are embedded, domain by domain: a few times the quota of a domain is in memory, whatever
the size of the corpus. `cal` and `coreset` also embed what was annotated of the domain before.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.config import Config
from baldistill.core.diversity import (
    Embedded,
    badge,
    by_cluster,
    by_contrast,
    k_center_greedy,
    surprisal_vectors,
)
from baldistill.generation.pool import Pool
from baldistill.generation.types import Continuation, ModelRef
from baldistill.method.context import Context
from baldistill.method.earlier import annotated_before
from baldistill.method.plan import StagePlan
from baldistill.records import transcript
from baldistill.student.answer import prompt_of
from baldistill.teacher.prompts import PromptSet

_LOOKS_BACK = ("coreset", "cal")


def uses_diversity(config: Config, stage: int) -> bool:
    """Return whether a stage thins its best candidates."""
    selection = config.selection
    return selection.diversity != "none" and (stage > 1 or selection.first_stage == "metric")


def wanted_and_pool(config: Config, plan: StagePlan) -> dict[str, tuple[int, int]]:
    """Return for each head domain how many examples it needs, and from how many they are chosen."""
    found = {}
    for domain, units in sorted(plan.head.items()):
        wanted = math.ceil(units / config.rationale.per_example)
        most = math.ceil(wanted * config.selection.diversity_pool)
        found[domain] = wanted, min(most, plan.unused[domain])
    return {domain: (wanted, pool) for domain, (wanted, pool) in found.items() if wanted < pool}


def most_embedded(config: Config, plans: Sequence[StagePlan]) -> int:
    """Return how many candidates and annotated rows the stages of a plan embed at most."""
    number = 0
    annotated: Counter[str] = Counter()
    for plan in plans:
        pools = wanted_and_pool(config, plan) if uses_diversity(config, plan.stage) else {}
        number += sum(pool for _, pool in pools.values())
        if config.selection.diversity in _LOOKS_BACK:
            number += sum(annotated[domain] for domain in pools)
        annotated.update(plan.head)
    return number


def thin(context: Context, plan: StagePlan, ranked: pa.Table) -> tuple[pa.Table, int]:
    """Move the most different of each head domain's best candidates to the front.

    The other candidates follow in their order, as spares. A candidate without a score (its response
    failed, or is above the ceiling) is not among the best, however much it differs.

    Args:
        context: The run.
        plan: Of the stage.
        ranked: Candidates by domain, the best first.

    Returns:
        The same rows, and how many were embedded.
    """
    pools = wanted_and_pool(context.config, plan)
    places = _places(ranked)
    order = np.arange(len(ranked))
    has_score = np.isfinite(ranked["score"].to_numpy().astype(np.float64))
    work: list[tuple[str, np.ndarray, np.ndarray, int]] = []
    for domain, (wanted, most) in pools.items():
        rows = places.get(domain, order[:0])
        best = rows[has_score[rows]][:most]
        if wanted < len(best):
            work.append((domain, rows, best, wanted))
    known = None
    if work and context.config.selection.diversity in _LOOKS_BACK:
        before = annotated_before(context.storage, plan.stage)
        known = before.filter(pc.equal(before["source"], "real"))
    embedded = 0
    total = sum(len(best) for _, _, best, _ in work)
    with context.display.task("embed candidates", total) as task:
        for domain, rows, best, wanted in work:
            earlier = None
            if known is not None:
                earlier = known.filter(pc.equal(known["domain"], domain))
            chosen = best[_choose(context, plan.stage, domain, ranked.take(best), wanted, earlier)]
            order[rows] = np.r_[chosen, rows[~np.isin(rows, chosen)]]
            embedded += len(best)
            task.update(embedded)
    return ranked.take(order), embedded


def _places(ranked: pa.Table) -> dict[str, np.ndarray]:
    """Return the rows of each domain, in their order."""
    if not len(ranked):
        return {}
    codes = ranked["domain"].combine_chunks().dictionary_encode()
    numbers = codes.indices.to_numpy()
    rows = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=len(codes.dictionary)))
    return dict(zip(codes.dictionary.to_pylist(), np.split(rows, ends[:-1]), strict=True))


def _choose(
    context: Context,
    stage: int,
    domain: str,
    best: pa.Table,
    wanted: int,
    earlier: pa.Table | None,
) -> list[int]:
    """Return the places of those candidates of a domain that are to be annotated first.

    `earlier` are its real examples that were annotated before, for what looks back at them.
    """
    by, kind = context.config.selection.by, context.config.selection.diversity
    model = context.student(stage - 1) if by == "student" else ModelRef(by)
    pool, prompts = context.engines.student(model), context.student_prompts
    seed = context.seed(f"diversity of {domain}", stage)
    if kind == "alps":
        return by_cluster(_surprisal(best, pool), wanted, seed)
    embedded = _embed(best, pool, prompts)
    match kind:
        case "kmeans":
            return by_cluster(embedded.mean, wanted, seed)
        case "badge":
            return badge(embedded.last, embedded.residual(), wanted, seed)
    assert earlier is not None
    known = _embed(earlier, pool, prompts, like=embedded)
    if kind == "coreset":
        return k_center_greedy(embedded.mean, wanted, known.mean)
    return by_contrast(embedded, known, wanted)


def _embed(
    rows: pa.Table, pool: Pool, prompts: PromptSet, like: Embedded | None = None
) -> Embedded:
    """Embed the prompts of examples; where there are none, with as many columns as `like`."""
    found = pool.embed([prompt_of(row, prompts) for row in rows.to_pylist()])
    if not found:
        assert like is not None
        return Embedded(like.mean[:0], like.last[:0], like.probabilities[:0], like.likeliest[:0])
    return Embedded(
        np.stack([one.mean for one in found]),
        np.stack([one.last for one in found]),
        np.stack([one.probabilities for one in found]),
        np.array([one.likeliest for one in found], dtype=np.int64),
    )


def _surprisal(rows: pa.Table, pool: Pool) -> np.ndarray:
    texts = [transcript(row.get("context"), row["question"]) for row in rows.to_pylist()]
    return surprisal_vectors(pool.score_texts([Continuation(text) for text in texts]))
