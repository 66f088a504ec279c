"""`baldistill ledger`: figures by every side, every request as CSV, at any time of a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baldistill.cli import app
from baldistill.errors import UserError
from baldistill.report.requests import ledger
from baldistill.storage import Storage

CASCADE = {
    "kind": "cascade",
    "tiers": [
        {"kind": "replay", "path": "/data/recorded.parquet"},
        {"kind": "openai", "model": "dear", "prices": {"prompt_per_million": 1e4}},
    ],
}


def printed(*arguments: str) -> tuple[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["ledger", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    *lines, last = done.output.splitlines()
    return "\n".join(lines), json.loads(last)


def test_spending_of_a_cascade_by_every_side(write_run: Callable[..., str], tmp_path: Path) -> None:
    run = write_run(caps={"cost": 200.0, "calls": 900}, teacher=CASCADE)
    text, figures = printed(run, "--csv", str(tmp_path / "requests.csv"))
    written = json.loads((Path(run) / "metrics.json").read_text())["budget"]
    assert {key: figures[key] for key in written} == written
    assert "budget.calls: 204 of 900 spent or held, 696 left" in text
    assert "budget.cost" in text
    for name in ("1: replay recorded.parquet", "2: openai dear", "rationale", "domain-001"):
        assert name in text
    assert "rejected: 4 wrong conclusion" in text
    with open(tmp_path / "requests.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["total"]["requests"]
    for side in ("stage", "domain", "purpose", "tier"):
        for name, spent in figures[f"by_{side}"].items():
            of_side = [row for row in rows if row[side] == name]
            for column in ("units", "calls", "prompt_tokens", "completion_tokens", "cost"):
                whole = pytest.approx(spent[column])
                assert sum(float(row[column]) for row in of_side) == whole
    assert [row["reason"] for row in rows].count("wrong conclusion") == 4
    assert {row["status"] for row in rows} == {"settled", "rejected"}
    dear = [row for row in rows if row["tier"] == "2"]
    assert {float(row["cost"]) for row in dear} == {30 * 1e4 / 1e6}


def test_a_stopped_run_and_one_that_has_asked_nothing(write_run: Callable[..., str]) -> None:
    run = write_run(whole=1, begun=("plan",))
    log = Storage.open(run).sub("ledger")
    entry = {"kind": "reserve", "request_id": "open", "purpose": "rationale", "stage": 2}
    log.write_text("00000001-x.jsonl", json.dumps({**entry, "domain": "domain-001"}) + "\n")
    text, figures = printed(run)
    assert "(not finished)" in text
    assert "1 requests have no answer" in text
    assert figures["open"] == 1
    text, figures = printed(write_run(budget=0, name="nothing"))
    assert "no teacher was asked yet" in text
    assert figures == {}


def test_what_cannot_be_read_or_written_is_named(
    write_run: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no run folder"):
        ledger(tmp_path)
    with pytest.raises(UserError, match="cannot write --csv"):
        ledger(write_run(), csv_path=tmp_path / "nowhere" / "requests.csv")
