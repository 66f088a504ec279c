"""A run folder goes on with another config where that decides nothing that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from baldistill.config import StudentConfig
from baldistill.config.loading import load_config
from baldistill.errors import ConfigError
from baldistill.run_folder.identity import PLACEMENT, adopt_run
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage
from baldistill.yaml12 import read_yaml

BASE = ["budget.calls=100", "teacher.kind=openai", "teacher.model=m"]
CORPUS, STUDENT = "corpus", "stages/01/student"


VERIFIER = ["tail.votes=1", "tail.verifier={kind: openai, model: v}"]


@dataclass(frozen=True)
class Nothing:
    """The result of a step that reports nothing."""


def folder(path: Path, *done: str) -> Storage:
    """A run folder in which some steps are committed."""
    storage = Storage.open(path)
    adopt_run(storage, load_config(None, BASE), "answers")
    for name in done:
        Chain(storage).step(name, {}, Nothing, Nothing)
    return storage


@pytest.mark.parametrize(
    "override",
    [
        "teacher.resources.batch_size=4",
        "teacher.prices.prompt_per_million=1.5",
        "teacher.patience_s=5",
        "teacher.batch_api={rows: 100}",
        "teacher.requests_per_minute=60",
        "student.resources.replicas=1",
        "student.num_workers=0",
        "student.checkpoint={every_steps: 9}",
        "cluster.keep_warm=never",
        "evaluation.teacher=true",
        "evaluation.benchmarks=[hellaswag]",
        "evaluation.lm_eval.limit=5",
        "budget.calls=101",
        "budget.calls=null",
        "name=other",
    ],
)
def test_what_decides_nothing_may_change_at_any_time(tmp_path: Path, override: str) -> None:
    storage = folder(tmp_path, CORPUS, STUDENT)
    config = load_config(None, [*BASE, override])
    adopt_run(storage, config, "answers")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("override", "key", "decided_by"),
    [
        ("seed=7", "seed", CORPUS),
        ("data.max_bad_fraction=0.5", "data.max_bad_fraction", CORPUS),
        ("budget.total=1300", "budget.total", CORPUS),
        ("budget.policy=naive", "budget.policy.kind", CORPUS),
        ("budget.calls=99", "budget.calls, which may be raised only", CORPUS),
        ("budget.tokens=99", "budget.tokens, which may be raised only", CORPUS),
        ("teacher.model=other", "teacher.identity", CORPUS),
        ("teacher.rationale.max_new_tokens=9", "teacher.rationale.max_new_tokens", CORPUS),
        ("student.learning_rate=0.5", "student.learning_rate", STUDENT),
        ("student.batch_size=1", "student.batch_size", STUDENT),
    ],
)
def test_what_decides_a_committed_step_may_change_until_then(
    tmp_path: Path, override: str, key: str, decided_by: str
) -> None:
    config = load_config(None, [*BASE, override])
    before = {CORPUS: (), STUDENT: (CORPUS,)}[decided_by]
    adopt_run(folder(tmp_path / "before", *before), config, "answers")
    storage = folder(tmp_path / "after", *before, decided_by)
    held = storage.read_text("config.yaml")
    with pytest.raises(ConfigError, match="holds a run with another config") as raised:
        adopt_run(storage, config, "s3://bucket/answers")
    assert f"({key})" in str(raised.value)
    assert "--store s3://bucket/answers" in str(raised.value)
    assert storage.read_text("config.yaml") == held


def test_the_versions_are_those_of_the_start(tmp_path: Path) -> None:
    storage = folder(tmp_path, CORPUS)
    assert storage.read_json("versions.json")["pydantic"]
    storage.write_json("versions.json", {"then": "1"})
    adopt_run(storage, load_config(None, [*BASE, "name=other"]), "answers")
    assert storage.read_json("versions.json") == {"then": "1"}
    assert read_yaml(storage.read_text("config.yaml"))["name"] == "other"


def test_a_student_of_an_earlier_version_keeps_its_key(tmp_path: Path) -> None:
    """Its folder was written before there were checkpoints, FSDP and adapters that are kept."""
    decides = {
        "model": "bundled", "prompts": "auto", "target": "rationale", "data": "cumulative",
        "init": "base", "epochs": 3.0, "learning_rate": 2e-5, "lr_schedule": "cosine",
        "warmup_ratio": 0.03, "weight_decay": 0.0, "batch_size": 32, "gradient_accumulation": 1,
        "max_length": 1024, "precision": "auto", "gradient_checkpointing": False,
        "optimizer": "auto", "trainer": {},
        "lora": {"rank": 4, "alpha": 32.0, "dropout": 0.0, "target_modules": "all-linear"},
        "response": {"max_new_tokens": 96, "temperature": 0.0, "top_p": 1.0},
    }  # fmt: skip
    student = StudentConfig.model_validate(
        {"lora": {"rank": 4}, "parallel": "fsdp", "checkpoint": False}
    )
    assert student.model_dump(mode="json", exclude=PLACEMENT) == decides
    kept = load_config(None, ["student.lora={rank: 4, keep: true}"])
    adopt_run(Storage.open(tmp_path), kept, "answers")
    assert load_config(tmp_path / "config.yaml") == kept


def test_a_verifier_may_get_other_prices_and_is_no_other_model(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    adopt_run(storage, load_config(None, [*BASE, *VERIFIER]), "answers")
    Chain(storage).step(CORPUS, {}, Nothing, Nothing)
    priced = [*BASE, *VERIFIER, "tail.verifier.prices.prompt_per_million=2"]
    adopt_run(storage, load_config(None, priced), "answers")
    for other in ("tail.verifier.model=w", "tail.verifier.rationale.temperature=0.5"):
        with pytest.raises(ConfigError, match=r"tail\.verifier\."):
            adopt_run(storage, load_config(None, [*BASE, *VERIFIER, other]), "answers")
    with pytest.raises(ConfigError, match=r"tail\.verifier"):
        adopt_run(storage, load_config(None, BASE), "answers")
