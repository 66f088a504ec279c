"""How often a real student solves new examples, kept for a stage that is done again."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baldistill.bundled import DOMAINS, make_example
from baldistill.config.loading import load_config
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef, Sampling
from baldistill.method.difficulty import TOO_EASY, TOO_HARD, Difficulty, uses_window
from baldistill.records import seed_for
from baldistill.run_folder.layout import StageLayout, marker
from baldistill.storage import Storage
from baldistill.teacher.parsing import NewExample
from baldistill.teacher.prompts import load_prompts


@pytest.fixture(scope="module")
def teacher() -> TransformersEngine:
    """The bundled teacher for a student: it solves easy questions, and some of the hard ones."""
    engine = TransformersEngine()
    engine.load(ModelRef("bundled-teacher"))
    return engine


def context_of(folder: Path, engine: Any, **window: float) -> Any:
    options = ", ".join(f"{key}: {value}" for key, value in window.items())
    config = load_config(None, [f"tail.window={{{options}}}"])
    return SimpleNamespace(
        config=config,
        storage=Storage.open(folder),
        engines=SimpleNamespace(student=lambda model: engine),  # in this process, not in Ray's
        student_prompts=load_prompts("compact", model="bundled"),
        response=Sampling(60),
        student=lambda stage: ModelRef(f"after stage {stage}"),
        seed=lambda purpose, stage: seed_for(0, purpose, stage),
    )


def mark_student(storage: Storage, key: str) -> None:
    """Say that stage 1 has trained a student."""
    storage.write_json(marker(StageLayout(1).step("student")), {"key": key})


def written() -> dict[str, tuple[str, NewExample]]:
    rng, found = random.Random(0), {}
    for number, domain in enumerate(sorted(DOMAINS)[:6]):
        one = make_example(domain, rng)
        found[f"right {number}"] = (domain, NewExample(one.question, "", one.answer))
        found[f"wrong {number}"] = (domain, NewExample(one.question, "", "no such thing"))
    return found


def test_shares_decide_and_are_kept(tmp_path: Path, teacher: TransformersEngine) -> None:
    context = context_of(tmp_path, teacher, low=0.25, high=0.75, samples=4)
    mark_student(context.storage, "first")
    examples = written()
    found = Difficulty(context, 2).outside(examples)
    solved = {
        row["request_id"]: row["solved"]
        for row in context.storage.read_table("stages/02/difficulty/first").to_pylist()
    }
    assert solved.keys() == examples.keys()
    assert {share * 4 % 1 for share in solved.values()} == {0.0}
    assert all(solved[name] == 0 for name in examples if name.startswith("wrong"))
    assert sum(solved[name] > 0.5 for name in examples if name.startswith("right")) >= 3
    for name, share in solved.items():
        expected = TOO_HARD if share < 0.25 else TOO_EASY if share > 0.75 else None
        assert found.get(name) == expected

    # a stage that is done again asks no student about those, and only about what is new
    again = Difficulty(context_of(tmp_path, None, low=0.25, high=0.75, samples=4), 2)
    assert again.outside(examples) == found
    new = {"new": next(iter(examples.values()))}
    later = Difficulty(context, 2)
    later.outside(examples | new)
    assert len(context.storage.files("stages/02/difficulty/first")) == 2
    assert context.storage.read_table("stages/02/difficulty/first/000001.parquet").num_rows == 1

    # the bounds belong to the window
    wide = context_of(tmp_path, None, low=0.0, high=1.0)
    assert Difficulty(wide, 2).outside(examples) == {}

    # what one student solves says nothing of the next, which was trained at the same place
    mark_student(context.storage, "second")
    Difficulty(context, 2).outside(new)
    assert context.storage.read_table("stages/02/difficulty/second").num_rows == 1


def test_there_is_no_window_before_there_is_a_student() -> None:
    config = load_config(None, ["tail.window=true"])
    assert [uses_window(config, stage) for stage in (1, 2)] == [False, True]
    assert not uses_window(load_config(None, []), 2)
