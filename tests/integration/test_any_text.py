"""A corpus whose every text does harm somewhere goes through all commands, and acts on none."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from texts import HALVES, HARMFUL
from typer.testing import CliRunner

from baldistill.cli import app
from baldistill.report.comparison import Outcome, summarise, write_comparison
from baldistill.run_folder.reader import corpus_counts
from baldistill.storage import Storage
from baldistill.visible import visible

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

ROWS = 3  # of a domain, one of them to evaluate on
OPTIONS = [
    "data.columns.id=id",
    "data.evaluation_fraction=0.4",
    "data.max_bad_fraction=1",
    "stages=1",
    "budget.total=24",
    "tail.fill=none",
    "teacher.kind=replay",
    "teacher.columns={id: id, rationale: rationale, answer: answer}",
    "teacher.missing=skip",
    "student.epochs=0.1",
    "student.response.max_new_tokens=4",
    "teacher.resources.replicas=1",
    "student.resources.replicas=1",
]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a run on such a corpus, with a recorded teacher."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        {
            "question": f"{text} {number} {text}?",
            "answer": f"{text} is {number}",
            "domain": text,
            "id": f"{number} {text[:400]}",
        }
        for text in HARMFUL
        for number in range(ROWS)
    ]
    recorded = [
        {"id": row["id"], "rationale": f"{row['domain']} so", "answer": row["answer"]}
        for row in rows
    ]
    rows += [{**rows[0], "domain": text, "id": text} for text in HALVES]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "a\nb.jsonl").write_text("".join(lines))
    pq.write_table(pa.Table.from_pylist(recorded), folder / "recorded.parquet")
    train, path = (json.dumps(str(folder / name)) for name in ("a\nb.jsonl", "recorded.parquet"))
    return [f"data.train={train}", *OPTIONS, f"teacher.path={path}"]


def invoke(*arguments: str) -> tuple[Any, str]:
    """What `--json` says, and all that a terminal was shown."""
    done = CliRunner(env={"COLUMNS": "3000"}).invoke(
        app, [*arguments, "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    *lines, last = done.stdout.split("\n")[:-1]
    shown = "\n".join([*lines, *done.stderr.split("\n")])
    assert all(visible(line) == line for line in shown.split("\n"))
    return json.loads(last), shown


def test_every_command_shows_it_and_none_obeys_it(options: list[str], tmp_path: Path) -> None:
    found, shown = invoke("data", "describe", *options)
    names = set(found["counts"])
    assert len(names) == len(HARMFUL) - 1, "nothing but a NUL is empty"
    assert found["quarantined"] == {"empty": ROWS, "invalid_utf8": len(HALVES)}
    assert all(visible(name) in shown for name in names)
    _, shown = invoke("data", "validate", *options)
    assert shown.count("half of a surrogate pair") == len(HALVES)
    planned, shown = invoke("plan", *options)
    assert set(planned["counts"]) == names
    assert all(visible(name) in shown for name in names)

    folder = tmp_path / "run"
    metrics, shown = invoke("run", *options, "--run-dir", str(folder))
    assert metrics["budget"]["annotated"] > 12, "an answer of many lines counts as another"
    assert set(metrics["per_domain"]) == names
    assert all(visible(name) in shown for name in names)
    assert_events((folder / "log.txt").read_text("utf-8"))
    again, _ = invoke("run", *options, "--run-dir", str(folder))
    assert again == metrics, "its ledger and its tables can be read"

    assert_tables(folder, names)
    invoke("report", str(folder))
    figures, shown = invoke("ledger", str(folder), "--csv", str(tmp_path / "requests.csv"))
    assert set(figures["by_domain"]) <= names
    assert_csv((tmp_path / "requests.csv").read_bytes().decode())
    assert_comparison(Storage.open(folder), Storage.open(tmp_path), metrics, names)


def assert_events(log: str) -> None:
    """Each line of the log begins with a time, or goes on with a table."""
    for line in log.splitlines():
        assert visible(line) == line
        assert line.startswith("    ") or line[:4].isdigit()
    assert log.count("2026-01-01 00:00:00 done") == log.count(" 2026-01-01 00:00:00 done")


def assert_tables(folder: Path, names: set[str]) -> None:
    """What the teacher said of a text is what the student learns, to the last character."""
    annotated = pq.read_table(folder / "stages/01/annotated.parquet").to_pylist()
    assert {row["domain"] for row in annotated} <= names
    for row in annotated:
        assert row["domain"] in row["question"]
        assert row["domain"] in row["answer"]
        assert row["domain"] in row["rationale"]


def assert_csv(text: str) -> list[list[str]]:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) == len(text.splitlines())
    assert not any(cell.startswith(("=", "+1+", "-2+", "@")) for row in rows for cell in row)
    return rows


def assert_comparison(
    run: Storage, folder: Storage, metrics: dict[str, Any], names: set[str]
) -> None:
    outcome = Outcome("baldistill-a", 0, metrics, corpus_counts(run), 0, 1.0)
    write_comparison(folder, summarise([outcome]))
    heads, _ = assert_csv(folder.read_bytes("comparison.csv").decode())
    assert {visible(name) for name in names} <= {head.removeprefix("'") for head in heads}
    lines = folder.read_text("comparison.md").splitlines()
    assert len(lines) == 8 + len(names), "two tables and a note, each row a line"
    assert all(visible(line) == line for line in lines)
