"""The best candidates are thinned by what a real student makes of them."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from baldistill.bundled import DOMAINS, make_example
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef
from baldistill.method.diversity import thin
from baldistill.method.plan import StagePlan
from baldistill.progress.display import Display
from baldistill.records import ANNOTATED, SCORED, seed_for
from baldistill.storage import Storage
from baldistill.teacher.prompts import load_prompts


@pytest.fixture(scope="module")
def student() -> TransformersEngine:
    engine = TransformersEngine()
    engine.load(ModelRef("bundled-student"))
    return engine


def examples(domain: str, count: int, seed: int) -> list[dict[str, object]]:
    rng = random.Random(seed)
    made = [make_example(domain, rng) for _ in range(count)]
    return [
        {"example_id": f"{domain}-{seed}-{number:03d}", "domain": domain}
        | {"question": one.question, "answer": one.answer}
        for number, one in enumerate(made)
    ]


def table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def context_of(config: Config, storage: Storage, student: TransformersEngine) -> SimpleNamespace:
    return SimpleNamespace(
        config=config,
        storage=storage,
        engines=SimpleNamespace(student=lambda model: student),  # in this process, not in Ray's
        student_prompts=load_prompts(config.student.prompts, model=config.student.model),
        display=Display(quiet=True),
        student=lambda stage: ModelRef("bundled-student"),
        seed=lambda purpose, stage: seed_for(0, purpose, stage),
    )


@pytest.mark.parametrize("kind", ["kmeans", "coreset", "badge", "cal", "alps"])
def test_the_quota_differs_and_the_others_stay_spares(
    kind: str, tmp_path: Path, student: TransformersEngine
) -> None:
    first, second = sorted(DOMAINS)[:2]
    config = load_config(None, [f"selection.diversity={kind}"])
    storage = Storage.open(tmp_path)
    done = {"source": "real", "attempts": 1}
    annotated = [row | done for row in examples(first, 4, seed=1)]
    storage.write_table("stages/01/annotated.parquet", table(annotated, ANNOTATED))
    # the best candidate of the first domain stands four times among the best ones
    rows = examples(first, 12, seed=2)
    for twin in rows[1:4]:
        twin["question"] = rows[0]["question"]
    rows += examples(second, 3, seed=3)
    ranked = table([row | {"score": 1 - place / 99} for place, row in enumerate(rows)], SCORED)
    context = context_of(config, storage, student)
    head = {first: 4, second: 3}
    plan = StagePlan(2, 7, head, {first: 50, second: 3}, head, {})
    thinned, embedded = thin(context, plan, ranked)  # type: ignore[arg-type]
    again, _ = thin(context, plan, ranked)  # type: ignore[arg-type]
    assert thinned.equals(again)
    assert embedded == 8, "twice the quota of the first domain; the second takes all it has"
    ids, given = thinned["example_id"].to_pylist(), ranked["example_id"].to_pylist()
    assert sorted(ids) == sorted(given)
    assert ids[12:] == given[12:]
    assert set(ids[:4]) <= set(given[:8]), "only the best are thinned"
    assert ids[4:12] == [one for one in given[:12] if one not in ids[:4]], "spares by score"
    if kind != "cal":  # which compares a candidate with annotated ones, not with each other
        questions = thinned["question"].to_pylist()[:4]
        assert len(set(questions)) == 4
    assert np.unique(ids).size == len(ids)


@pytest.mark.parametrize("kind", ["kmeans", "coreset", "badge", "cal", "alps"])
def test_what_has_no_score_stays_behind_however_much_it_differs(
    kind: str, tmp_path: Path, student: TransformersEngine
) -> None:
    (domain,) = sorted(DOMAINS)[:1]
    config = load_config(None, [f"selection.diversity={kind}", "selection.ceiling=1"])
    storage = Storage.open(tmp_path)
    storage.write_table("stages/01/annotated.parquet", table([], ANNOTATED))
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, *[float("nan")] * 5, None, None]
    rows = [
        row | {"score": score} for row, score in zip(examples(domain, 12, 2), scores, strict=True)
    ]
    ranked, head = table(rows, SCORED), {domain: 4}
    plan = StagePlan(2, 4, head, {domain: 50}, head, {})
    context = context_of(config, storage, student)
    thinned, embedded = thin(context, plan, ranked)  # type: ignore[arg-type]
    ids, given = thinned["example_id"].to_pylist(), ranked["example_id"].to_pylist()
    assert embedded == 5
    assert set(ids[:4]) < set(given[:5])
    assert ids[5:] == given[5:]
    plan = StagePlan(2, 5, {domain: 5}, {domain: 50}, {domain: 5}, {})
    same, embedded = thin(context, plan, ranked)  # type: ignore[arg-type]
    assert (same["example_id"].to_pylist(), embedded) == (given, 0), "no more have a score"
