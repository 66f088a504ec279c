"""What a job's log shows: plain lines with done, rate and time left."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.table import Table

from baldistill.progress import display as display_module
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
    assert lines[0] == "  annotate: starting, 0/40"
    assert lines[1].startswith("  annotate: 10/40 (25 %), ")
    assert lines[1].endswith(" s left")
    assert "50/40 (100 %)" in lines[2], "retries can make a task longer than planned"
    assert lines[3].startswith("  annotate: 50 in ")
    assert lines[3].endswith("loss 0.5")
    assert "\x1b" not in "".join(lines)
    assert len((tmp_path / "log.txt").read_text().splitlines()) == len(lines)


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
