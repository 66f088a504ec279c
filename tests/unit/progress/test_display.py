"""What a job's log shows: plain lines with done, rate and time left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.table import Table

from baldistill.progress import display as display_module
from baldistill.progress.counter import Counter, Figures
from baldistill.progress.display import Display
from baldistill.run_folder.log import RunLog
from baldistill.storage import Storage


def test_a_log_has_plain_lines_with_rate_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display_module, "_LINE_EVERY", 0.0)
    display = Display(RunLog(Storage.open(tmp_path)))
    with display.task("annotate", 40) as task:
        task.update(0)
        task.advance(10)
        task.update(50, "loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  annotate: starting, 0 s, 0/40"
    assert lines[1].startswith("  annotate: 10/40 (25 %), ")
    assert lines[1].endswith(" s left")
    assert "50/40 (100 %)" in lines[2], "retries can make a task longer than planned"
    assert lines[3].startswith("  annotate: 50 in ")
    assert lines[3].endswith("loss 0.5")
    assert "\x1b" not in "".join(lines)
    assert len((tmp_path / "log.txt").read_text().splitlines()) == len(lines)


def test_a_line_says_what_is_done_before_the_first_row_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display_module, "_LINE_EVERY", 0.0)
    with Display().task("train", 0) as task:
        task.show(Figures(status="loading the model"))
        task.show(Figures(status="first step", total=80))
        task.show(Figures(8, "loss 0.5"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["  train: loading the model, 0 s", "  train: first step, 0 s, 0/80"]
    assert re.fullmatch(r"  train: 8/80 \(10 %\), [\d,.]+/s, \d+ s left, loss 0\.5", lines[2])


def test_rows_of_a_batch_under_way_are_shown_and_counted_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display_module, "_LINE_EVERY", 0.0)
    with Display().task("annotate", 40) as task:
        task.report(0, "loading the model")
        task.report(3, "")
        task.advance(8)
        task.report(2, "")
    shown = [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()]
    assert shown[:4] == [
        "  annotate: loading the model, 0 s, 0/40",
        "  annotate: 3/40",
        "  annotate: 8/40",
        "  annotate: 10/40",
    ]
    assert shown[4].startswith("  annotate: 8 in "), "what is under way is not done"


def test_a_counter_counts_the_rows_of_a_batch_once() -> None:
    counter = Counter()
    counter.report("a", 0, "loading the model")
    assert counter.figures() == Figures(status="loading the model")
    counter.report("a", 3, "")
    counter.report("b", 2, "")  # its worker dies: another counts the batch again
    assert counter.figures() == Figures(5)
    counter.add(8, "a")
    counter.add(8, "c")
    assert counter.figures() == Figures(18)
    assert counter.figures(finished=True) == Figures(16)


def test_a_brief_task_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Display().task("read", 1, brief=True) as task:
        task.advance()
    assert capsys.readouterr().err == ""


def test_texts_are_never_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Display().say("domain [bold]x[/bold] [/]")
    assert capsys.readouterr().err == "domain [bold]x[/bold] [/]\n"


def test_quiet_shows_nothing_but_keeps_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display(RunLog(Storage.open(tmp_path)), quiet=True)
    display.say("hello")
    display.show(Table("a"))
    assert capsys.readouterr().err == ""
    assert "hello" in (tmp_path / "log.txt").read_text()
