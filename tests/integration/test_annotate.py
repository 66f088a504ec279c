"""A stage's quotas met from the whole corpus, by a scripted teacher behind a real actor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from baldistill.answers.completion import Completion
from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.config.engines import TransformersOptions
from baldistill.data.summary import CorpusSummary
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.pool import EngineActor, Pool
from baldistill.generation.types import ModelRef, Request, Sampling
from baldistill.method.annotate import Annotation, annotate
from baldistill.method.context import Context
from baldistill.method.plan import StagePlan, StudentErrors, plan_stage
from baldistill.method.select import candidate_counts
from baldistill.progress.display import Display
from baldistill.records import EXAMPLES
from baldistill.storage import Storage
from baldistill.teacher.prompts import load_prompts

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

PROMPTS = load_prompts("compact", model="bundled")


class ScriptedEngine:
    """Explains what is not `hard`; writes new questions, but not in the domains that begin so."""

    def load(self, model: ModelRef) -> None:
        pass

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        raise AssertionError("nobody asks a teacher for scores")

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> list[Completion]:
        tokens, logprobs = np.zeros(3, np.int32), np.zeros(3, np.float32)
        return [
            Completion(r.request_id, self.text(str(r.prompt), r.seed), tokens, logprobs, 7)
            for r in requests
        ]

    def text(self, prompt: str, seed: int) -> str:
        if prompt.startswith("Domain: "):
            domain = prompt.split()[1]
            return "" if domain.startswith("mute") else f"Question: New {seed}?\nSo.\nAnswer: x"
        if prompt.startswith("Question: torn"):  # answers differ from vote to vote
            return f"So {seed}.\nAnswer: {'xyz'[seed % 3]}"
        if prompt.startswith("Question: varied"):  # now and then a rationale that was there before
            return f"So {seed % 5}.\nAnswer: {'y' if seed % 7 == 0 else 'x'}"
        is_hard = prompt.startswith("Question: hard")
        return "So.\nAnswer: no idea" if is_hard else "So.\nAnswer: x"


class ScriptedActor(EngineActor):
    def __init__(self) -> None:
        super().__init__(TransformersOptions())
        self._engine = ScriptedEngine()


class OneTeacher:
    """Engines that are one pool, which no run starts or ends."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def teacher(self, tier: int) -> Pool:
        return self._pool


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    engine = ray.remote(concurrency_groups={"reports": 1})(ScriptedActor).options(num_cpus=0)
    actor = engine.remote()
    yield Pool((actor,), ModelRef("scripted"), batch_size=64)
    ray.kill(actor)


def context_of(
    folder: Path, pool: Pool, questions: dict[str, Sequence[str]], **values: Any
) -> tuple[Context, StagePlan]:
    """A run whose only stage was selected: the candidates are the first rows of each domain."""
    storage = Storage.open(folder)
    columns: dict[str, list[Any]] = {name: [] for name in EXAMPLES.names}
    for domain, kinds in questions.items():
        for number, kind in enumerate(kinds):
            row = f"{domain}-{number}", domain, f"{kind} {domain} {number}", "x", None
            for name, value in zip(EXAMPLES.names, row, strict=True):
                columns[name].append(value)
    corpus = pa.table(columns, schema=EXAMPLES)
    storage.write_table("corpus/train/0.parquet", corpus)
    held_out = pa.table([["e"], ["none"], ["Held out?"], ["x"], [None]], schema=EXAMPLES)
    storage.write_table("corpus/evaluation/0.parquet", held_out)
    config = Config.model_validate({"stages": 1, "rationale": {"max_attempts": 1}, **values})
    counts = {domain: len(kinds) for domain, kinds in questions.items()}
    plan = plan_stage(config, counts, counts, 1)
    wanted = candidate_counts(plan, config.selection.candidates_per_quota)
    ranks = pa.array([number for kinds in questions.values() for number in range(len(kinds))])
    chosen = [rank.as_py() < wanted[d] for rank, d in zip(ranks, columns["domain"], strict=True)]
    selected = corpus.append_column("rank", ranks).filter(pa.array(chosen))
    storage.write_table("stages/01/selected.parquet", selected)
    context = Context(
        config=config,
        storage=storage,
        corpus=CorpusSummary(sum(counts.values()), counts, {"none": 1}, {}, 0, []),
        engines=OneTeacher(pool),  # type: ignore[arg-type]
        responses=ResponseStore(storage.sub("responses")),
        student_prompts=PROMPTS,
        teacher_prompts=(PROMPTS,),
        display=Display(quiet=True),
        counter=None,
    )
    return context, plan


def annotated(context: Context, plan: StagePlan) -> tuple[Annotation, list[dict[str, Any]]]:
    """Figures and rows."""
    figures = annotate(context, plan, StudentErrors(), {})
    rows = context.storage.read_table("stages/01/annotated.parquet").to_pylist()
    assert len({row["example_id"] for row in rows}) == len(rows), "no example twice"
    return figures, rows


@pytest.mark.slow
def test_the_budget_is_spent_while_real_rows_are_unused(tmp_path: Path, pool: Pool) -> None:
    """Ten examples of each domain; what two of them cannot use goes to the others."""
    questions = {
        "few": ["hard", "hard", "good"] * 100,
        "large": ["good"] * 300,
        "mute": ["good"] * 2,
        "none": ["hard"] * 200,
        "writes": [*["good"] * 9, "hard"],
    }
    context, plan = context_of(
        tmp_path,
        pool,
        questions,
        budget={"total": 50, "policy": "naive"},
        selection={"candidates_per_quota": 1.0},
    )
    assert set(plan.tail) == {"mute"}
    try:
        figures, rows = annotated(context, plan)
        # what a crash cut off is done again from the ledger and the answers, and is the same
        assert annotated(context, plan) == (figures, rows)
    finally:
        context.close()
    assert figures.annotated == 50
    assert figures.dry == ["mute", "none"]
    found = Counter((row["domain"], row["source"]) for row in rows)
    assert found[("mute", "real")] == 2
    assert min(found[("large", "real")], found[("few", "real")]) > 10
    # a head domain, which lost its last real example
    assert found[("writes", "real")] == 9
    assert found[("writes", "synthetic")] >= 2
    tried = Counter(context.storage.read_json("stages/01/dropped.json").values())
    assert tried["none"] == 10 + 8, "of a domain that the teacher cannot explain, no more"


def test_a_domain_without_a_quota_takes_what_is_left_over(tmp_path: Path, pool: Pool) -> None:
    context, plan = context_of(
        tmp_path,
        pool,
        {"large": ["good"] * 50, "mute": ["good"] * 5},
        budget={"total": 20, "policy": {"kind": "split", "tail_shares": [1.0]}},
    )
    assert plan.head == {"large": 0}
    try:
        figures, rows = annotated(context, plan)
    finally:
        context.close()
    assert figures.dry == ["mute"]
    assert Counter(row["domain"] for row in rows) == {"large": 15, "mute": 5}


UNLABELLED = {
    "rationale": {"sees": "question", "accept": "majority"},
    "budget": {"total": 24, "policy": "naive"},
    "selection": {"candidates_per_quota": 1.0},
    "tail": {"fill": "none"},
}
TORN = {"agree": ["good"] * 20, "torn": ["torn"] * 60}


def spent(context: Context) -> dict[str, Any]:
    return dict(context.spending()["total"])


def test_votes_are_calls_and_an_example_is_one_unit(tmp_path: Path, pool: Pool) -> None:
    """A cap is kept; with a higher one, no vote is asked again, and the table is the same."""
    context, plan = context_of(tmp_path / "whole", pool, TORN, **UNLABELLED)
    try:
        figures, rows = annotated(context, plan)
        whole = spent(context)
        assert annotated(context, plan) == (figures, rows)
        assert spent(context) == whole, "done again from the ledger and the answers"
    finally:
        context.close()
    assert figures.annotated == whole["units"] == len(rows) == 24
    assert figures.rejected["no majority"] == figures.dropped > 0
    agree = [row for row in rows if row["domain"] == "agree"]
    assert {(row["answer"], row["attempts"], row["verified"]) for row in agree} == {("x", 2, True)}
    torn = [row for row in rows if row["domain"] == "torn"]
    assert len({row["answer"] for row in torn}) > 1
    assert {row["attempts"] for row in torn} == {2, 3}
    by_purpose = context.spending()["by_purpose"]
    assert by_purpose["rationale"]["units"] == 24
    assert by_purpose["vote"]["units"] == 0
    tried = by_purpose["rationale"]["calls"]
    assert tried == figures.annotated + figures.dropped
    assert tried <= by_purpose["vote"]["calls"] <= 2 * tried

    half = whole["calls"] // 2
    capped = {**UNLABELLED, "budget": {**UNLABELLED["budget"], "calls": half}}
    context, plan = context_of(tmp_path / "capped", pool, TORN, **capped)
    try:
        stopped, _ = annotated(context, plan)
        assert stopped.refused == "calls"
        assert spent(context)["calls"] == half
    finally:
        context.close()
    context, plan = context_of(tmp_path / "capped", pool, TORN, **UNLABELLED)
    try:
        assert annotated(context, plan) == (figures, rows)
        assert spent(context)["calls"] == whole["calls"]
    finally:
        context.close()


AGAIN = {
    "budget": {"total": 40, "policy": "naive"},
    "selection": {"candidates_per_quota": 1.0},
    "tail": {"fill": ["rationales", "synthesize"]},
}
ONCE_MORE = {
    "large": ["good"] * 60,
    "mute": ["good"] * 2,  # says the same each time, and can write nothing new
    "varied": ["varied"] * 4,
    "writes": ["good"] * 3,
}


def rejected(context: Context) -> list[dict[str, Any]]:
    return list(context.storage.read_table("stages/01/rejected.parquet").to_pylist())


def further(context: Context, plan: StagePlan) -> tuple[Annotation, list[dict[str, Any]]]:
    """Figures and rows, where an example may stand in several; each rationale stands once."""
    figures = annotate(context, plan, StudentErrors(), {})
    rows = context.storage.read_table("stages/01/annotated.parquet").to_pylist()
    texts = Counter((row["example_id"], row["rationale"]) for row in rows)
    assert set(texts.values()) == {1}
    names = [row["request_id"] for row in rows]
    assert len(set(names)) == len(names), "each is a call of its own"
    own = {row["example_id"]: row for row in rows if row["source"] == "real"}
    for row in rows:
        if row["source"] == "further":
            assert row["verified"] is True
            assert row["question"] == own[row["example_id"]]["question"]
    return figures, rows


def test_further_rationales_fill_what_they_can_and_new_examples_the_rest(
    tmp_path: Path, pool: Pool
) -> None:
    """All is paid once: what a cap or a crash cut off goes on, and gives the same table."""
    context, plan = context_of(tmp_path / "whole", pool, ONCE_MORE, **AGAIN)
    try:
        figures, rows = further(context, plan)
        whole = spent(context)
        assert further(context, plan) == (figures, rows)
        assert spent(context) == whole, "done again from the ledger and the answers"
    finally:
        context.close()
    assert figures.annotated == len(rows) == whole["units"] == 40
    again = [row for row in rejected(context) if row["reason"] == "repeats a rationale"]
    repeats = Counter(row["domain"] for row in again)
    # a call for each unit that is missing, and no second round that would be as vain; then two
    # rounds for the two units of mute's that the other gets
    assert (repeats["mute"], repeats["writes"]) == (8, 7 + 2 * 2)
    assert repeats["varied"] > 0
    assert figures.dry == ["mute"]
    found = Counter((row["domain"], row["source"]) for row in rows)
    assert found[("varied", "real")] + found[("varied", "further")] >= 10
    assert found[("mute", "real")] == 2
    assert found[("writes", "real")] == 3
    assert found[("writes", "synthetic")] >= 7
    assert found[("writes", "further")] == found[("mute", "further")] == 0
    again = Counter(row["example_id"] for row in rows if row["source"] == "further")
    assert max(again.values()) <= min(again.values()) + 2, "spread over the examples"

    half = whole["calls"] // 2
    capped = {**AGAIN, "budget": {**AGAIN["budget"], "calls": half}}
    context, plan = context_of(tmp_path / "capped", pool, ONCE_MORE, **capped)
    try:
        stopped, _ = further(context, plan)
        assert (stopped.refused, spent(context)["calls"]) == ("calls", half)
        assert sum(stopped.unfilled.values()) == 40 - stopped.annotated
    finally:
        context.close()
    context, plan = context_of(tmp_path / "capped", pool, ONCE_MORE, **AGAIN)
    try:
        assert further(context, plan) == (figures, rows)
        assert spent(context)["calls"] == whole["calls"]
    finally:
        context.close()


def test_an_example_may_be_several_units_of_the_budget(tmp_path: Path, pool: Pool) -> None:
    context, plan = context_of(
        tmp_path,
        pool,
        {"a": ["varied"] * 30, "b": ["good"] * 30},
        budget={"total": 24, "policy": "naive"},
        rationale={"per_example": 3, "max_attempts": 4},
    )
    try:
        figures, rows = further(context, plan)
    finally:
        context.close()
    assert figures.annotated == 24
    per_example = Counter(row["example_id"] for row in rows if row["domain"] == "a")
    assert per_example.total() == 12
    assert max(per_example.values()) == 3
    assert len(per_example) <= 5
    assert [row["source"] for row in rows if row["domain"] == "b"] == ["real"] * 12
