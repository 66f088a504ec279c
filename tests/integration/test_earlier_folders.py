"""Folders that earlier versions wrote are read, and a half-finished run goes on in its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from fault_matrix.round import ledger_of, stored_in, tables_of
from fault_matrix.teacher import Witness
from servers.fault_server import running
from typer.testing import CliRunner

from baldistill.cli import app

FOLDERS = Path(__file__).resolve().parents[1] / "run_folders"
PORT = 20813  # in the base_url of the folders' configs, so that it is part of each request's id
IN_FLIGHT = 3  # requests that the killed run had sent and not answered


@pytest.fixture(params=sorted(path.name for path in FOLDERS.iterdir()))
def version(request: pytest.FixtureRequest) -> Path:
    """The folders of one version."""
    return FOLDERS / str(request.param)


ADDED = re.compile(r"'correct': (True|False|None), ")
"""Columns of a table that earlier versions did not write."""


FLOAT = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")


def without_added(tables: dict[str, object]) -> tuple[dict[str, str], list[float]]:
    """The tables of a run without such columns and floats; and the floats."""
    rows = {
        name: [ADDED.sub("", row) for row in rows] if isinstance(rows, list) else rows
        for name, rows in tables.items()
    }
    found = [float(one) for name in sorted(rows) for one in FLOAT.findall(str(rows[name]))]
    return {name: FLOAT.sub("float", str(rows[name])) for name in rows}, found


def a_copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def test_a_finished_run_is_read(version: Path, tmp_path: Path) -> None:
    run_dir = a_copy(version / "finished", tmp_path)
    done = CliRunner().invoke(app, ["report", str(run_dir), "--json"])
    assert done.exit_code == 0, done.output
    page = (run_dir / "report" / "index.html").read_text("utf-8")
    assert "24" in page
    shown = CliRunner().invoke(app, ["ledger", str(run_dir), "--json"])
    total = json.loads(shown.stdout.splitlines()[-1])["total"]
    assert (total["units"], total["calls"]) == (24, 32)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_half_finished_run_goes_on_and_repeats_no_answered_call(
    version: Path, tmp_path: Path
) -> None:
    run_dir = a_copy(version / "half-finished", tmp_path)
    before = stored_in(run_dir)
    assert len(before) == 29
    server = Witness()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with running(server, PORT):
            done = CliRunner().invoke(app, ["run", "--run-dir", str(run_dir)])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert done.exit_code == 0, done.output
    asked = {call.key for call in server.calls}
    assert not asked & before
    assert len(server.calls) == len(asked) == IN_FLIGHT
    assert stored_in(run_dir) == before | asked
    tables = tables_of(run_dir)
    assert len(tables) == 12
    rows, floats = without_added(tables)
    wanted, scores = without_added(tables_of(version / "finished"))
    assert rows == wanted
    # the folder was written on another machine, whose processor rounds otherwise
    assert floats == pytest.approx(scores, rel=1e-4)
    ledger = ledger_of(run_dir)
    assert ledger is not None
    # The version of the folder did not say which calls it had sent: those may be counted twice.
    assert 32 <= ledger.calls <= 32 + IN_FLIGHT
