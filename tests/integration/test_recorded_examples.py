"""Tail domains filled from a recording, through a real engine and a real ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from baldistill.answers.store import ResponseStore
from baldistill.commands.inputs import validated_recordings
from baldistill.config import Config
from baldistill.config.teachers import ReplayTeacher
from baldistill.core.budget import TailQuota
from baldistill.data.summary import CorpusSummary
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef
from baldistill.method.annotate import Annotation, annotate
from baldistill.method.context import Context
from baldistill.method.plan import StagePlan, StudentErrors
from baldistill.placement.engines import Engines
from baldistill.progress.display import Display
from baldistill.records import EXAMPLES
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage
from baldistill.teacher.prompts import load_prompts

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

TABLES = ("annotated", "synthesized", "rejected")
LONG = " ".join(f"word{i}" for i in range(40))
REAL, HELD_OUT = "What is real?", "What is held out?"


def row(question: str, rationale: str = "So it is.", answer: str = "x") -> dict[str, str]:
    return {"domain": "tail", "question": question, "answer": answer, "rationale": rationale}


RECORDED = [
    row("WHAT is real?"),
    row("What is new 1?", "It follows.\nAnswer: x"),
    row(f"{LONG} first?"),
    row(f"{LONG} second?"),  # differs in one word of 42
    row(HELD_OUT),
    row("What is wrong?", "It follows.\nAnswer: something else"),
    row("What is new 2?", "</think> is how its thoughts ended. The answer is x."),
    {**row("What is elsewhere?"), "domain": "elsewhere"},
    row("What is new 2?"),
    row("What is new 3?", "The answer is y."),
    row("What is new 4?", "The answer is x."),
]
GOOD = ["What is new 1?", f"{LONG} first?", "What is new 2?", "What is new 3?", "What is new 4?"]
REASONS = ["duplicate", "near-duplicate", "duplicate", "not verified", "duplicate"]


class OneTeacher(Engines):
    """Engines that are one pool, which no run starts or ends."""

    def __init__(self, pool: Pool) -> None:
        self._one = pool

    def teacher(self, tier: int) -> Pool:
        return self._one


def config_of(folder: Path, **values: Any) -> Config:
    teacher = {
        "kind": "replay",
        "path": str(folder / "real.jsonl"),
        "synthetic": str(folder / "new.jsonl"),
    }
    budget = {"total": 14}
    return Config.model_validate({"teacher": teacher, "stages": 2, "budget": budget, **values})


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Pool]]:
    """Recorded answers to the real examples, and new examples, with the engine that has them."""
    folder = tmp_path_factory.mktemp("recording")
    real = [{"question": f"full {i}?", "rationale": "So.\nAnswer: x"} for i in range(30)]
    real.append({"question": REAL, "rationale": "So.\nAnswer: x"})
    for name, rows in (("real", real), ("new", RECORDED)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (options,) = config_of(folder).teacher.tiers
    assert isinstance(options, ReplayTeacher)
    pool = Pool.start(options, ModelRef("none"), replicas=1, bundle={"CPU": 0}, batch_size=4)
    yield folder, pool
    pool.close()


def begin(run: Path, recording: tuple[Path, Pool], **values: Any) -> Context:
    """Start a run, or go on with one: its corpus is there, and its recording is read."""
    folder, pool = recording
    config, storage = config_of(folder, **values), Storage.open(run)
    rows = [(f"full-{i}", "full", f"full {i}?", "x", None) for i in range(30)]
    rows.append(("tail-0", "tail", REAL, "x", None))
    held_out = ("e", "full", HELD_OUT, "x", None)
    for part, some in (("train", rows), ("evaluation", [held_out])):
        values_of = [dict(zip(EXAMPLES.names, r, strict=True)) for r in some]
        storage.write_table(f"corpus/{part}/0.parquet", pa.Table.from_pylist(values_of, EXAMPLES))
    summary = CorpusSummary(31, {"full": 30, "tail": 1}, {"full": 1}, {}, 0, [])
    display, prompts = Display(quiet=True), load_prompts("compact", model="bundled")
    recorded = validated_recordings(config, Chain(storage), summary, display)
    return Context(
        config=config,
        storage=storage,
        corpus=summary,
        engines=OneTeacher(pool),
        responses=ResponseStore(storage.sub("responses")),
        student_prompts=prompts,
        teacher_prompts=(prompts,),
        display=display,
        counter=None,
        recorded=recorded.counts,
    )


def stage(context: Context, number: int, wanted: int, unused: int) -> Annotation:
    """Annotate a stage that wants so many examples of the tail, and two others."""
    quotas = {"full": 2, "tail": wanted}
    tail = {"tail": TailQuota(unused, wanted - unused)}
    left = {"full": 32 - 2 * number, "tail": unused}
    plan = StagePlan(number, wanted + 2, quotas, left, {"full": 2}, tail)
    corpus = context.storage.read_table("corpus/train/0.parquet")
    taken = [2 * number - 2, 2 * number - 1, *([30] if unused else [])]
    selected = corpus.take(taken).append_column("rank", pa.array(range(len(taken))))
    context.storage.write_table(f"stages/{number:02d}/selected.parquet", selected)
    return annotate(context, plan, StudentErrors(), {})


def new_in(context: Context, number: int) -> list[dict[str, Any]]:
    table = context.storage.read_table(f"stages/{number:02d}/synthesized.parquet")
    return sorted(table.to_pylist(), key=lambda row: GOOD.index(row["question"]))


def rejected_in(context: Context, number: int) -> list[str]:
    table = context.storage.read_table(f"stages/{number:02d}/rejected.parquet")
    return [str(reason) for reason in table["reason"].to_pylist()]


def test_the_tail_is_filled_in_the_order_of_the_recording(
    tmp_path: Path, recording: tuple[Path, Pool]
) -> None:
    """Each row is tried once in the run; a stage that is done again is the same."""
    context = begin(tmp_path, recording)
    assert context.recorded == {"elsewhere": 1, "tail": 10}
    first = stage(context, 1, wanted=4, unused=1)
    assert first.by_source == {"real": 3, "synthetic": 3}
    new = new_in(context, 1)
    assert [r["question"] for r in new] == GOOD[:3]
    assert new[0]["rationale"] == "It follows.", "its conclusion is the answer, not told twice"
    assert new[2]["rationale"].startswith("</think> is how")
    before = {name: context.storage.read_bytes(f"stages/01/{name}.parquet") for name in TABLES}
    spent = context.spending()
    context.close()

    again = begin(tmp_path, recording)
    stage(again, 1, wanted=4, unused=1)
    assert before == {n: again.storage.read_bytes(f"stages/01/{n}.parquet") for n in TABLES}
    assert again.spending() == spent, "nothing is spent twice"

    second = stage(again, 2, wanted=6, unused=0)
    assert [r["question"] for r in new_in(again, 2)] == GOOD[3:]
    assert rejected_in(again, 1) + rejected_in(again, 2) == REASONS
    assert second.dry == ["tail"]
    assert second.by_domain == {"full": 6, "tail": 2}, "the others get what the recording lacks"
    total = again.spending()
    assert (total["total"]["calls"], total["total"]["cost"]) == (0, 0)
    assert total["total"]["units"] == 14
    again.close()


def test_with_votes_the_conclusion_of_the_rationale_must_be_the_answer(
    tmp_path: Path, recording: tuple[Path, Pool]
) -> None:
    context = begin(tmp_path, recording, tail={"votes": 1})
    figures = stage(context, 1, wanted=9, unused=1)
    assert figures.dry == ["tail"]
    new = new_in(context, 1)
    assert [r["question"] for r in new] == ["What is new 1?", "What is new 2?", "What is new 4?"]
    assert all(r["verified"] for r in new)
    reasons = rejected_in(context, 1)
    assert (reasons.count("not verified"), len(reasons)) == (4, 7)
    context.close()


def test_the_recording_may_be_gone_when_a_run_goes_on(
    tmp_path: Path, recording: tuple[Path, Pool]
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("real.jsonl", "new.jsonl"):
        (folder / name).write_bytes((recording[0] / name).read_bytes())
    begin(tmp_path / "run", (folder, recording[1])).close()
    (folder / "new.jsonl").unlink()
    context = begin(tmp_path / "run", (folder, recording[1]))
    assert stage(context, 1, wanted=4, unused=1).by_source == {"real": 3, "synthetic": 3}
    context.close()
