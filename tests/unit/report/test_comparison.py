"""The table and figure of a comparison."""

from __future__ import annotations

import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from texts import HARMFUL

from baldistill.errors import ConfigError
from baldistill.report.comparison import (
    Outcome,
    markdown,
    reference_of,
    summarise,
    write_comparison,
)
from baldistill.report.intervals import interval
from baldistill.storage import Storage
from baldistill.visible import visible


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

    assert (tmp_path / "comparison-trade.png").read_bytes().startswith(b"\x89PNG")
    assert "baldistill-a" in (tmp_path / "comparison-trade.svg").read_text()


# Of two methods, whose seeds differ far more than the methods do: only pairs show the difference.
SEEDS = {0: 0.50, 1: 0.60, 2: 0.72, 3: 0.81}


def paired_outcomes(better_by: dict[int, float]) -> list[Outcome]:
    reference = [outcome("baldistill-a", s, m, m - 0.1, 100, s) for s, m in SEEDS.items()]
    others = [outcome("ours", s, m + better_by[s], m - 0.1, 90, 2 * s) for s, m in SEEDS.items()]
    return [*others, *reference]


def test_differences_are_of_the_same_seeds() -> None:
    gains = {0: 0.02, 1: 0.03, 2: 0.04, 3: 0.03}
    data = summarise(paired_outcomes(gains))
    ours, reference = data["rows"]
    assert data["reference"] == "baldistill-a"
    assert reference["differences"] == {}
    of_macro = [gain / 2 for gain in gains.values()]  # the macro of two domains
    half = 3.182 * statistics.stdev(of_macro) / 4**0.5
    assert ours["differences"]["macro"]["mean"] == pytest.approx(statistics.mean(of_macro))
    assert ours["differences"]["macro"]["half"] == pytest.approx(half)
    assert ours["macro"]["half"] > 10 * half, "the seeds differ more than the methods"
    assert ours["differences"]["calls"]["mean"] == pytest.approx(-10 + 1.5)
    assert ours["differences"]["worst"]["mean"] == pytest.approx(0.0)
    assert ours["worst"]["mean"] == pytest.approx(statistics.mean(SEEDS.values()) - 0.1)


def test_a_claim_is_made_where_the_interval_is_clear_of_zero_and_nowhere_else() -> None:
    clear = markdown(summarise(paired_outcomes({0: 0.02, 1: 0.03, 2: 0.04, 3: 0.03})))
    row = next(line for line in clear.splitlines() if line.startswith("| ours"))
    macro, *_, tail, worst, calls = [cell.strip() for cell in row.split("|")[2:-1]]
    assert macro.endswith("(+1.5 ± 0.6*)")
    assert tail.endswith("(+0.0 ± 0.0)")
    assert worst.endswith("(+0.0 ± 0.0)")
    assert calls == "93 ± 4 (-8 ± 2*)"
    assert "* where this interval is clear of 0" in clear
    unclear = markdown(summarise(paired_outcomes({0: 0.09, 1: -0.08, 2: 0.05, 3: 0.0})))
    row = next(line for line in unclear.splitlines() if line.startswith("| ours"))
    assert "(+0.8 ± 5.8)" in row
    assert row.count("*") == 1, "of the calls alone"


def test_the_reference_is_baldistill_a_or_the_first_or_what_was_asked_for() -> None:
    assert reference_of(["random-ft", "baldistill-a"]) == "baldistill-a"
    assert reference_of(["random-ft", "baldistill-n"]) == "random-ft"
    assert reference_of(["random-ft", "baldistill-a"], "random-ft") == "random-ft"
    with pytest.raises(ConfigError, match="baldistill-x is none of the methods: random-ft"):
        reference_of(["random-ft"], "baldistill-x")


def test_a_single_seed_makes_no_claim_and_what_was_left_out_is_said() -> None:
    outcomes = [outcome("a", 0, 0.9, 0.5, 1, 0), outcome("b", 0, 0.9, 0.7, 1, 0)]
    data = summarise(outcomes, "b", {"c": "config my.yaml:\n  it | has no answers"})
    text = markdown(data)
    assert data["rows"][0]["differences"]["macro"] == pytest.approx({"mean": -0.1, "half": None})
    assert "(-10.0)" in text
    assert "a single seed says nothing" in text
    assert "*" not in text
    assert "c (config my.yaml: it | has no answers)" in text


def test_a_single_seed_has_no_interval() -> None:
    table = markdown(summarise([outcome("random-ft", 0, 0.5, 0.5, 0, 0)]))
    assert "| random-ft | 50.0 | 50.0 |" in table


def with_figures(one: Outcome, **figures: Any) -> Outcome:
    return replace(one, metrics=one.metrics | figures)


def cells_of(text: str, table: int) -> dict[str, list[str]]:
    """The cells of each row of a table of `comparison.md`, by its first."""
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables[table]]
    return {row[0]: row[1:] for row in rows}


def test_own_metrics_are_compared_as_all_others(tmp_path: Path) -> None:
    mine, others = {0: 3.0, 1: 5.0, 2: 7.0}, {0: 2.0, 1: 4.0, 2: 6.5}
    outcomes = [
        with_figures(outcome(method, seed, 0.9, 0.5, 1, 0), own={"macro": value, "late": 1.0})
        for method, values in (("ours", mine), ("baldistill-a", others))
        for seed, value in values.items()
    ]
    outcomes[0].metrics["own"].pop("late")  # the metric is newer than this run
    write_comparison(Storage.open(tmp_path), summarise(outcomes))
    data = json.loads((tmp_path / "comparison.json").read_text())
    ours, reference = data["rows"]
    half = 4.303 * statistics.stdev([1.0, 1.0, 0.5]) / 3**0.5
    assert ours["own/macro"] == interval(list(mine.values()))
    assert ours["differences"]["own/macro"]["mean"] == pytest.approx(2.5 / 3)
    assert ours["differences"]["own/macro"]["half"] == pytest.approx(half)
    assert reference["own/macro"]["mean"] == pytest.approx(12.5 / 3)
    assert ours["macro"]["mean"] == pytest.approx(0.7), "another figure of the same name"
    assert ours["own/late"] == {"mean": 1.0, "half": 0.0}

    table = cells_of((tmp_path / "comparison.md").read_text(), 1)
    assert table["method"] == ["own/macro", "own/late"]
    assert table["ours"] == ["5.000 ± 4.969 (+0.833 ± 0.717*)", "1.000 ± 0.000 (+0.000 ± 0.000)"]
    assert table["baldistill-a"] == ["4.167 ± 5.601", "1.000 ± 0.000"]

    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    for row, of in zip(rows, (ours, reference), strict=True):
        for side in ("mean", "half"):
            assert float(row[f"own/macro_{side}"]) == of["own/macro"][side]
            difference = of["differences"].get("own/macro", {}).get(side, "")
            assert row[f"own/macro_difference_{side}"] == str(difference)


def test_names_of_own_metrics_are_shown_and_never_interpreted(tmp_path: Path) -> None:
    names = [name for name in HARMFUL if "|" in name or "<" in name or "\n" in name]
    own = dict.fromkeys(names, 0.5)
    outcomes = [with_figures(outcome(m, 0, 0.9, 0.5, 1, 0), own=own) for m in "ab"]
    write_comparison(Storage.open(tmp_path), summarise(outcomes))
    lines = (tmp_path / "comparison.md").read_text("utf-8").split("\n")
    (first,) = [i for i, line in enumerate(lines) if line.startswith("| method | own/")]
    assert r"| own/a\|b\\\|c\ |" in lines[first], "one cell, whatever bars it has"
    assert "<" not in lines[first].replace("\\<", ""), "no tag of HTML opens"
    assert lines[first + 2].startswith("| a | 0.500 | 0.500 ")
    assert all(visible(line) == line for line in lines)
    text = (tmp_path / "comparison.csv").read_text("utf-8")
    assert len(text.splitlines()) == 3
    heads_of_csv = next(csv.reader(io.StringIO(text)))
    assert {f"own/{visible(name)}_mean" for name in names} <= set(heads_of_csv)


def test_without_own_metrics_there_is_no_table_of_them() -> None:
    text = markdown(summarise([outcome("a", 0, 0.9, 0.5, 1, 0)]))
    assert "own" not in text
    assert text.count("|---|") == 2


def test_files_have_the_means_between_macro_and_natural_and_the_wide_table_does_not(
    tmp_path: Path,
) -> None:
    figures = {"ours": (0.6, 0.8), "baldistill-a": (0.5, 0.75)}
    outcomes = [
        with_figures(
            outcome(method, seed, 0.9, 0.5, 1, 0), entropy=low + seed / 10, dodrans=high - seed / 10
        )
        for method, (low, high) in figures.items()
        for seed in range(2)
    ]
    write_comparison(Storage.open(tmp_path), summarise(outcomes))
    ours, _ = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    row, _ = csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text()))
    for name, mean, difference in (("entropy", 0.65, 0.1), ("dodrans", 0.75, 0.05)):
        assert ours[name]["mean"] == pytest.approx(mean)
        assert ours["differences"][name]["mean"] == pytest.approx(difference)
        assert float(row[f"{name}_half"]) == ours[name]["half"] > 0
        assert float(row[f"{name}_difference_mean"]) == pytest.approx(difference)
    assert "entropy" not in (tmp_path / "comparison.md").read_text()
