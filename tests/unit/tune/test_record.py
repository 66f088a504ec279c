"""The record of a sweep: what a trial asked of the teacher."""

from __future__ import annotations

import json
from pathlib import Path

from baldistill.config.loading import dump_config, load_config
from baldistill.core.ledger import Reserve, Settle, to_record
from baldistill.storage import Storage
from baldistill.tune.record import Spent, run_folder, spent_by

CASCADE = [
    "teacher.kind=cascade",
    "teacher.tiers=[{kind: replay, path: answers.parquet}, {kind: transformers, model: large}]",
]


def test_a_recording_is_no_answer_of_another_trial(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    run = run_folder(folder, "t001")
    assert spent_by(folder, "t001") == Spent(0, 0), "before it starts"
    entries = [
        Reserve("recorded", "rationale", 1, "d", calls=0, tier=1),
        Settle("recorded", reused=True),
        Reserve("shared", "rationale", 1, "d", calls=0, tier=2),
        Settle("shared", reused=True),
        Reserve("paid", "rationale", 1, "d", tier=2),
        Settle("paid", 10, 10),
    ]
    lines = "".join(json.dumps(to_record(entry)) + "\n" for entry in entries)
    run.write_text("ledger/00000000-x.jsonl", lines)
    run.write_text("config.yaml", dump_config(load_config(None, CASCADE)))
    assert spent_by(folder, "t001") == Spent(calls=1, reused=1)
