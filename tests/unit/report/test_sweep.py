"""The table and figures of a sweep: ranking, costs, the Pareto front, every form."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from baldistill.report.figures.sweep import shown
from baldistill.report.sweep import SweepTrial, markdown, pareto_front, summarise, write_tables
from baldistill.storage import Storage

COUNTS = {"small": 10, "big $x$": 90}


def trial(
    name: str, values: dict[str, Any], head: float | None, standing: str = "done", **more: Any
) -> SweepTrial:
    tail = 1.0 - (head or 0.0)
    metrics = {
        **dict.fromkeys(("micro", "natural"), 0.5),
        "macro": head,
        "head": head,
        "tail": tail,
        "per_domain": {"big $x$": {"score": head}, "small": {"score": tail}},
    }
    started = head is not None
    stages = more.pop("at", 2)
    return SweepTrial(
        name=name,
        values=values,
        standing=standing,
        reason=more.pop("reason", ""),
        stages=2,
        history=tuple((stage, metrics) for stage in range(1, stages + 1)) if started else (),
        scores=(head, tail)[: more.pop("metrics", 1)] if head is not None else (),
        calls=more.pop("calls", 0),
        reused=more.pop("reused", 0),
        seconds=1.0,
        counts=COUNTS if started else {},
    )


def split(first: float, last: float) -> dict[str, Any]:
    return {"budget.policy.tail_shares": [first, last], "budget.policy": {"kind": "split"}}


TRIALS = [
    trial("t001", split(0.1, 0.1), 0.6, calls=100),
    trial("t002", split(0.1, 0.9), 0.7, calls=40, reused=60),
    trial("t003", split(0.9, 0.1), 0.8, "stopped", at=1, reason="weak", calls=10, reused=40),
    trial("t004", split(0.9, 0.9), None, "failed", reason="no | such model"),
    trial("t005", split(0.5, 0.5), None, "skipped", reason="not started: the cap"),
]


def test_a_sweep_is_written_in_every_form(tmp_path: Path) -> None:
    data = summarise(TRIALS, ["macro"])
    table, files = markdown(data), write_tables(Storage.open(tmp_path), data)
    assert data == json.loads((tmp_path / "sweep.json").read_text())
    assert data["best"] == "t002", "a stopped trial is not the best, however good it looked"
    assert [row["name"] for row in data["trials"]] == ["t002", "t001", "t003", "t004", "t005"]
    assert data["domains"] == ["big $x$", "small"], "from head to tail"
    assert (data["calls_alone"], data["calls_paid"]) == (250, 150)
    assert "250 if every trial had run alone, 150 paid together (40% served" in table
    assert "| **t002** | 0.1, 0.9 | split | 70.0 |" in table
    assert "- t004 failed: no | such model" in table
    rows = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert float(rows[0]["small"]) == pytest.approx(0.3)
    assert rows[3]["macro"] == ""
    assert "sweep-front.png" not in files
    for name in files:
        assert (tmp_path / name).stat().st_size > 0
    assert "tail_shares" in (tmp_path / "sweep-parameters.svg").read_text()
    assert "big $x$" in (tmp_path / "sweep-domains.svg").read_text()


def test_a_trade_off_has_a_front(tmp_path: Path) -> None:
    trials = [trial(f"t{n:03d}", split(n / 10, 0.5), n / 10, metrics=2) for n in range(1, 4)]
    trials.append(trial("t004", split(0.4, 0.5), 0.9, "stopped", at=1, metrics=2))
    data = summarise(trials, ["macro", "tail"])
    table, files = markdown(data), write_tables(Storage.open(tmp_path), data)
    assert data["front"] == ["t001", "t002", "t003"], "each is best at some weighting"
    assert "Pareto front: t001, t002, t003." in table
    assert "mean of macro and tail" in table
    assert (tmp_path / "sweep-front.png").read_bytes().startswith(b"\x89PNG")
    assert {"sweep-front.png", "sweep-front.svg"} <= set(files)


def test_a_sweep_may_go_by_a_metric_of_the_users_own() -> None:
    (one,) = trials = [trial("t001", split(0.1, 0.1), 0.6)]
    one.history[-1][1]["own"] = {"gap": 0.125}
    table = markdown(summarise(trials, ["own/gap"]))
    heads, _, row = ([cell.strip() for cell in line.split("|")] for line in table.splitlines()[:3])
    assert row[heads.index("own/gap")] == "12.5"


def test_the_front_has_no_trial_that_another_beats() -> None:
    scores = {"a": (0.5, 0.5), "b": (0.6, 0.4), "c": (0.5, 0.4), "d": (0.5, 0.5)}
    assert pareto_front(scores) == ["a", "b", "d"]
    assert pareto_front({}) == []


def test_a_sweep_in_which_nothing_ended_is_still_shown(tmp_path: Path) -> None:
    data = summarise(TRIALS[3:], ["macro"])
    table, files = markdown(data), write_tables(Storage.open(tmp_path), data)
    assert data["best"] is None
    assert files == ["sweep.json", "sweep.md", "sweep.csv"]
    assert "no | such model" in table


def test_values_are_shown_short() -> None:
    assert shown([0.1, 0.30000000000000004]) == "0.1, 0.3"
    assert shown({"kind": "split", "tail_shares": [0.5]}) == "split tail_shares=0.5"
    assert shown(None) == ""
    assert summarise(TRIALS, ["macro"])["trials"][0]["metrics"]["domain/small"] == (
        pytest.approx(0.3)
    )
