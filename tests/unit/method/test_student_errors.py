"""What the student is asked before a stage: what it was not trained on, where there is any."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from baldistill.core.policies import Asked
from baldistill.method.earlier import asked_teacher_before, trained_before
from baldistill.method.student_errors import questions_for_student
from baldistill.records import ANNOTATED, EXAMPLES, REJECTED
from baldistill.storage import Storage

COUNTS = {"head": 60, "tail": 12, "spent": 5}


def run_after_a_stage(folder: Path) -> Storage:
    """A run that annotated 20 of the head, 9 of the tail and all of `spent`, and dropped one."""
    storage = Storage.open(folder)
    rows = [
        (f"{d}-{n}", d, f"{d} {n}?", "x", None) for d, size in COUNTS.items() for n in range(size)
    ]
    corpus = pa.table(
        dict(zip(EXAMPLES.names, zip(*rows, strict=True), strict=True)), schema=EXAMPLES
    )
    storage.write_table("corpus/train/0.parquet", corpus)
    done = [
        row
        for row in rows
        if int(row[0].split("-")[1]) < {"head": 20, "tail": 9, "spent": 5}[row[1]]
    ]
    annotated = [
        {
            **dict(zip(EXAMPLES.names, row, strict=True)),
            "source": "real",
            "rationale": "So.",
            "verified": True,
            "attempts": 1,
            "request_id": row[0],
        }
        for row in done
    ]
    new = annotated[-1] | {"example_id": "new", "source": "synthetic"}
    further = annotated[-1] | {"source": "further"}  # another rationale of the same example
    storage.write_table(
        "stages/01/annotated.parquet",
        pa.Table.from_pylist([*annotated, new, further], schema=ANNOTATED),
    )
    refused = {"request_id": "r", "purpose": "rationale", "domain": "tail", "reason": "mismatch"}
    storage.write_table(
        "stages/01/rejected.parquet",
        pa.Table.from_pylist([refused, refused | {"purpose": "synthesis"}], schema=REJECTED),
    )
    storage.write_json("stages/01/dropped.json", {"tail-9": "tail"})
    return storage


@pytest.mark.ray
def test_the_student_is_asked_what_it_was_not_trained_on(ray_session: None, tmp_path: Path) -> None:
    storage = run_after_a_stage(tmp_path)
    asked = questions_for_student(storage, COUNTS, 2, 10, seed=3)
    assert Counter(asked["domain"].to_pylist()) == {"head": 10, "tail": 2, "spent": 5}
    numbers = [
        (d, int(i.split("-")[1]))
        for d, i in zip(asked["domain"].to_pylist(), asked["example_id"].to_pylist(), strict=True)
    ]
    assert all(n >= {"head": 20, "tail": 10, "spent": 0}[d] for d, n in numbers)
    assert asked.equals(questions_for_student(storage, COUNTS, 2, 10, seed=3))


def test_what_earlier_stages_tell(tmp_path: Path) -> None:
    storage = run_after_a_stage(tmp_path)
    assert trained_before(storage, 2) == {"head": 20, "tail": 9, "spent": 7}
    assert trained_before(storage, 1) == {}
    assert asked_teacher_before(storage, 2) == {
        "head": Asked(20, 0),
        "spent": Asked(5, 0),
        "tail": Asked(10, 1),
    }
