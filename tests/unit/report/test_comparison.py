"""The table and figure of a comparison."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path

import pytest

from baldistill.report.comparison import Outcome, interval, markdown, summarise, write_comparison
from baldistill.storage import Storage


def outcome(method: str, seed: int, head: float, tail: float, calls: int, reused: int) -> Outcome:
    macro = (head + tail) / 2
    return Outcome(
        method=method,
        seed=seed,
        metrics={
            "macro": macro,
            "micro": macro,
            "natural": 0.9 * head + 0.1 * tail,
            "head": head,
            "tail": tail,
            "per_domain": {"big $x$": {"score": head, "count": 50}, "small": {"score": tail}},
            "budget": {"total": {"calls": calls}, "annotated": 100},
        },
        counts={"small": 10, "big $x$": 90},
        reused=reused,
        seconds=1.0,
    )


def test_the_interval_is_students_t() -> None:
    values = [0.5, 0.6, 0.7]
    found = interval(values)
    assert found["mean"] == pytest.approx(0.6)
    assert found["half"] == pytest.approx(4.303 * statistics.stdev(values) / 3**0.5)
    for seeds, quantile in ((14, 2.160), (15, 2.145), (31, 2.042), (61, 2.000), (121, 1.980)):
        many = [float(number % 7) for number in range(seeds)]
        half = quantile * statistics.stdev(many) / seeds**0.5
        assert interval(many)["half"] == pytest.approx(half, rel=1e-3)
    assert interval([0.5]) == {"mean": 0.5, "half": None}
    assert interval([]) == {"mean": None, "half": None}


def test_agreement_with_the_teacher_is_not_called_accuracy() -> None:
    marked = outcome("a", 0, 0.9, 0.5, 1, 0)
    marked.metrics["gold"] = "teacher"
    text = markdown(summarise([marked]))
    assert "Agreement with the teacher in percent" in text
    assert "ccuracy" not in text
    assert "Accuracy in percent" in markdown(summarise([outcome("a", 0, 0.9, 0.5, 1, 0)]))


def test_a_comparison_is_written_in_every_form(tmp_path: Path) -> None:
    outcomes = [
        outcome("random-ft-cot", 0, 0.9, 0.1, 100, 0),
        outcome("random-ft-cot", 1, 0.9, 0.3, 100, 0),
        outcome("baldistill-a", 0, 0.8, 0.6, 60, 45),
        outcome("baldistill-a", 1, 0.8, 0.7, 70, 35),
    ]
    data = summarise(outcomes)
    write_comparison(Storage.open(tmp_path), data)
    assert data == json.loads((tmp_path / "comparison.json").read_text())
    assert data["domains"] == ["big $x$", "small"], "from head to tail"
    assert (data["calls_alone"], data["calls_together"]) == (410, 330)
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    assert lines[2].startswith("| random-ft-cot | 55.0 ± ")
    assert lines[3].startswith("| baldistill-a | 72.5 ± ")
    assert lines[7:] == [
        "| domain | examples | random-ft-cot | baldistill-a |",
        "|---|---:|---:|---:|",
        "| big $x$ | 90 | 90.0 | 80.0 |",
        "| small | 10 | 20.0 | 65.0 |",
    ]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    assert float(rows[1]["small"]) == pytest.approx(0.65)
    assert "baldistill-a" in (tmp_path / "comparison.svg").read_text()
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_single_seed_has_no_interval() -> None:
    table = markdown(summarise([outcome("random-ft", 0, 0.5, 0.5, 0, 0)]))
    assert "| random-ft | 50.0 | 50.0 |" in table
