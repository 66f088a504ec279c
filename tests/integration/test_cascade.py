"""A cascade of real engines: recorded answers first, then models, on one ledger."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from baldistill.answers.store import ResponseStore
from baldistill.bundled.corpus import make_corpus
from baldistill.config import Config
from baldistill.config.teachers import ReplayTeacher, TransformersTeacher
from baldistill.core.ledger import Caps, Ledger
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef
from baldistill.records import Example
from baldistill.run_folder.ledger_log import read_log
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.rationale import explain
from baldistill.teacher.teacher import Teacher

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

_CHEAP = {"prompt_per_million": 1.0, "completion_per_million": 2.0}
_DEAR = {"prompt_per_million": 10.0, "completion_per_million": 20.0}


def examples(number: int) -> list[Example]:
    rows = make_corpus(num_train=400)[0].slice(0, number).to_pylist()
    return [Example(row["id"], row["domain"], row["question"], row["answer"]) for row in rows]


def test_each_teacher_gets_what_those_before_could_not(tmp_path: Path) -> None:
    """Recorded answers, then a model that is cut short, then the same model at full length."""
    wanted = examples(16)
    recorded = [
        {"id": row.example_id, "rationale": "It was recorded.", "said": row.answer}
        for row in wanted[:6]
    ]
    recorded[5]["said"] = "something else"
    pq.write_table(pa.Table.from_pylist(recorded), tmp_path / "recorded.parquet")
    settings = Config.model_validate(
        {
            "budget": {"cost": 1.0},
            "rationale": {"max_attempts": 1},
            "teacher": {
                "kind": "cascade",
                "tiers": [
                    {
                        "kind": "replay",
                        "path": str(tmp_path / "recorded.parquet"),
                        "columns": {"id": "id", "answer": "said"},
                    },
                    {"rationale": {"max_new_tokens": 10}, "prices": _CHEAP},
                    {"prices": _DEAR},
                ],
            },
        }
    )
    store, log = ResponseStore(Storage.open(tmp_path / "store")), Storage.open(tmp_path / "ledger")
    prices = tuple(tier.prices for tier in settings.teacher.tiers)
    ledger = start_ledger(log, store, Caps(examples=100, cost=1.0), prices)
    prompts = load_prompts("compact", model="bundled")
    teachers = []
    for number, tier in enumerate(settings.teacher.tiers, start=1):
        assert isinstance(tier, ReplayTeacher | TransformersTeacher)
        pool = Pool.start(
            tier, ModelRef("bundled-teacher"), replicas=1, bundle={"CPU": 1}, batch_size=4
        )
        teachers.append(Teacher(pool, ledger, store, tier, prompts, number))
    result = explain(wanted, teachers, settings, stage=1)

    rows = list(Ledger.replay(Caps(), read_log(log)[1], prices).requests())
    reasons = {n: [row.reason for row in rows if row.tier == n] for n in (1, 2, 3)}
    assert reasons[1] == [None] * 5 + ["wrong conclusion"] + ["no recording"] * 10
    accepted = [reason for reason in reasons[2] if reason is None]
    assert len(reasons[2]) == 11, "exactly what the recording did not explain"
    assert len(reasons[3]) == 11 - len(accepted), "and then what the short answers did not"
    assert 0 < len(reasons[3]) < 16
    told = {row.example_id: row.rationale for row in result.annotated}
    assert [told[row.example_id] for row in wanted[:5]] == ["It was recorded."] * 5
    assert all(row.verified for row in result.annotated)
    assert len(result.annotated) + len(result.dropped) == len(wanted)
    by_tier = ray.get(ledger.summary.remote())["by_tier"]
    assert (by_tier["1"]["calls"], by_tier["1"]["reused"], by_tier["1"]["cost"]) == (0, 6, 0)
    assert by_tier["2"]["calls"] == 11
    assert by_tier["2"]["cost"] < by_tier["3"]["cost"]

    (tmp_path / "recorded.parquet").unlink()  # a resumed run has the recorded answers in its store
    again = explain(wanted[:5], teachers[:1], settings, stage=1)
    assert [row.rationale for row in again.annotated] == ["It was recorded."] * 5
    for teacher in teachers:
        teacher.pool.close()
    ray.kill(ledger)
