"""The record of a sweep: what a trial asked of the teacher."""

from __future__ import annotations

import json
from pathlib import Path

from baldistill.config.loading import dump_config, load_config
from baldistill.core.ledger import Reserve, Settle, to_record
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage
from baldistill.tune.record import (
    Spent,
    TrialRecord,
    read_record,
    read_records,
    run_folder,
    spent_by,
    write_record,
)

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


def test_a_trial_whose_results_a_repair_has_given_up_goes_on(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    for name, evaluated in (("t001", 2), ("t002", 1), ("t003", 0)):
        write_record(folder, TrialRecord(name, {}, {}, standing="done", stages=2))
        for stage in range(1, evaluated + 1):
            marker = layout.marker(StageLayout(stage).step("metrics"))
            run_folder(folder, name).write_json(marker, {"figures": {}})
    standings = {name: record.standing for name, record in read_records(folder).items()}
    assert standings == {"t001": "done", "t002": "running", "t003": "running"}
    assert read_record(folder, "t002").standing == "running"
