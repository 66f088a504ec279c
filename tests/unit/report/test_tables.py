"""The teacher's column: beside the students', with the distance in each domain."""

from __future__ import annotations

from dataclasses import replace

from runs import FINISHED

from baldistill.report import tables
from baldistill.run_folder.reader import read_run


def test_the_teacher_stands_beside_the_last_student() -> None:
    run = read_run(FINISHED)
    plain = tables.accuracy(run)
    assert "teacher" not in plain.columns
    last = list(run.evaluated.values())[-1]
    domains = list(last["per_domain"])
    teacher = {
        "macro": 0.875,
        "per_domain": {name: {"score": 1.0, "count": 2} for name in domains[1:]},
    }
    table = tables.accuracy(replace(run, teacher=teacher))
    assert table.columns == [*plain.columns, "teacher", "gap"]
    assert [row[:-2] for row in table.rows] == list(plain.rows)
    cells = {row[0]: row[-2:] for row in (*table.rows, *table.summary)}
    assert cells[domains[0]] == ["-", "-"], "it was not asked there"
    for name in domains[1:]:
        assert cells[name] == ["1.000", f"{last['per_domain'][name]['score'] - 1:+.3f}"]
    assert cells["macro"] == ["0.875", f"{last['macro'] - 0.875:+.3f}"]
    assert cells["worst"] == ["-", "-"], "folders of earlier versions lack some figures"
