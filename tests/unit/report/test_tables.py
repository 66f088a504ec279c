"""The teacher's column: beside the students', with the distance in each domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from runs import FINISHED

from baldistill.core.benchmarks import BenchmarkChange
from baldistill.report import tables
from baldistill.report.figures import benchmarks
from baldistill.report.figures.style import Picture, styled
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


def test_a_metric_of_the_users_own_may_have_the_name_of_another() -> None:
    run = read_run(FINISHED)
    plain = tables.accuracy(run)
    for metrics in run.evaluated.values():
        metrics["own"] = {"macro": 0.125, "mine": 2.0}
    table = tables.accuracy(run)
    assert table.summary[:-2] == plain.summary, "all built-in figures are as they were"
    assert [(row[0], row[-2]) for row in table.summary[-2:]] == [
        ("macro", "0.125"),
        ("mine", "2.000"),
    ]


def test_the_means_between_macro_and_natural_have_titles_and_a_source(
    write_run: Callable[..., str],
) -> None:
    run = read_run(write_run(stages=1, budget=20))
    table = tables.accuracy(run)
    cells = {row[0]: row[-2] for row in table.summary}
    last = list(run.evaluated.values())[-1]
    assert cells["entropy-weighted"] == f"{last['entropy']:.3f}"
    assert cells["dodrans-weighted"] == f"{last['dodrans']:.3f}"
    assert "entropy" not in cells
    assert "dodrans-weighted by n^(3/4) (Harbecke et al. 2022)" in table.note


def test_what_was_forgotten_is_a_table_and_a_picture() -> None:
    run = read_run(FINISHED)
    assert tables.benchmarks(run) is None
    assert benchmarks.shown(run) == []

    def change(task: str, metric: str, before: float, after: float, **more: Any) -> dict[str, Any]:
        about: dict[str, Any] = {"difference": after - before, "difference_stderr": 0.01} | more
        found = BenchmarkChange(task, metric, 1500, 0, True, before, 0.02, after, 0.02, **about)
        return found.to_dict()

    changes = [
        change("sums", "acc", 0.5, 0.4),
        change("sums", "acc_norm", 0.6, 0.61),
        change("texts", "word_perplexity", 12.0, 15.0, difference_stderr=None),
    ]
    final = run.final | {"benchmarks": {"lm_eval": "0.4.13", "changes": changes}}
    run = replace(run, final=final)
    table = tables.benchmarks(run)
    assert table is not None
    shown = [[*row[:4], *row[-2:]] for row in table.rows]
    assert shown == [
        ["sums", "acc", "forgotten", "1,500", "-0.100", "0.010"],
        ["sums", "acc_norm", "within noise", "1,500", "+0.010", "0.010"],
        ["texts", "word_perplexity", "", "1,500", "+3.000", "-"],
    ]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert [row["metric"] for row in benchmarks.shown(run)] == ["acc_norm"], "no perplexity"
    with styled():
        picture = Picture.of("benchmarks", "t", "c", benchmarks.before_and_after(run))
    assert "sums (acc_norm)" in picture.svg
