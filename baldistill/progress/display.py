"""Show the user a run at work: bars on a terminal, plain lines in a job's log."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayTaskError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from baldistill.progress.counter import Figures
from baldistill.run_folder.log import RunLog
from baldistill.terminal import make_console, print_line, print_lines, text_column
from baldistill.visible import visible

_LINE_EVERY = 10.0  # seconds between plain lines
_POLL_EVERY = 0.5
_BRIEF = 5.0  # seconds


class Display:
    """Shows messages, tables and progress, and keeps all messages in a log file."""

    def __init__(self, log: RunLog | None = None, *, quiet: bool = False) -> None:
        """Show on standard error, so that standard output is free for results.

        The log gets every message, also where `quiet` shows none.
        """
        self.console = make_console(stderr=True, quiet=quiet)
        self.interactive = self.console.is_terminal and not quiet
        self._log = log
        logger = logging.getLogger("baldistill")
        logger.handlers = [_LogHandler(self)]  # the latest display shows it
        logger.propagate = False

    def say(self, text: str) -> None:
        """Show one line: a line end in the text is shown as an escape."""
        print_line(self.console, text)
        self._write(visible(text))

    def say_lines(self, text: str) -> None:
        """Show a text of several lines."""
        print_lines(self.console, text)
        self._write(text)

    def show(self, table: Table) -> None:
        """Show a table of `terminal.make_table`."""
        self.console.print(table)
        plain = io.StringIO()
        make_console(file=plain, width=120, no_color=True).print(table)
        self._write("\n" + plain.getvalue().rstrip())

    @contextmanager
    def task(self, title: str, total: int, *, brief: bool = False) -> Iterator[Task]:
        """Show the progress of one task until the block ends.

        A `brief` task leaves no line behind if it took under five seconds.
        """
        title, start = visible(title), time.monotonic()
        if self.interactive:
            with Progress(
                text_column("  {task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                text_column("{task.fields[rate]}"),
                TimeElapsedColumn(),
                text_column("left"),
                TimeRemainingColumn(),
                text_column("{task.fields[note]}"),
                console=self.console,
                transient=True,
            ) as progress:
                number = progress.add_task(title, total=total, rate="", note="")
                task = Task(title, total, start, bar=(progress, number))
                yield task
        else:
            task = Task(title, total, start, line=self.say)
            yield task
        if not brief or time.monotonic() - start > _BRIEF:
            self.say(f"  {task.summary()}")

    @contextmanager
    def remote_task(self, title: str, total: int, counter: Any) -> Iterator[None]:
        """Show the progress of work in other processes, which they report to a `Counter`.

        `total` is 0 until the workers say.

        Raises:
            UserError: The error that a `counted` function raised, without Ray Data's wrapping.
        """
        ray.get(counter.reset.remote())
        stop = threading.Event()
        with self.task(title, total) as task:

            def poll() -> None:
                while not stop.wait(_POLL_EVERY):
                    task.show(ray.get(counter.figures.remote()))

            thread = threading.Thread(target=poll, daemon=True)
            thread.start()
            try:
                yield
            except RayTaskError:
                failure = ray.get(counter.failure.remote())
                if failure is None:
                    raise
                raise failure from None
            finally:
                stop.set()
                thread.join()
            task.show(ray.get(counter.figures.remote(finished=True)))

    def _write(self, text: str) -> None:
        if self._log is not None:
            self._log.write(text)


class _LogHandler(logging.Handler):
    """Shows what the package logs where it has no display at hand."""

    def __init__(self, display: Display) -> None:
        super().__init__(logging.INFO)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record's message."""
        self._display.say(f"  {record.getMessage()}")


class Task:
    """One thing that takes a while.

    Beside the rows that are done it shows those that have ended in engines but have not come back
    yet, so that the figures move while a batch is under way.
    """

    def __init__(
        self,
        title: str,
        total: int,
        start: float,
        *,
        bar: tuple[Progress, TaskID] | None = None,
        line: Any = None,
    ) -> None:
        """Start at 0; `Display.task` makes tasks."""
        self._title, self._total, self._start = title, total, start
        self._bar, self._line, self._last_line = bar, line, start
        self._done, self._under_way, self._note = 0, 0, ""
        self._status, self._status_since = "", start

    def advance(self, count: int = 1) -> None:
        """Count some more as done."""
        self._done += count
        self._under_way = max(0, self._under_way - count)
        self._refresh()

    def update(self, done: int, note: str | None = None) -> None:
        """Say how many are done; `note` is shown behind the figures."""
        self.show(Figures(done, note))

    def report(self, under_way: int, status: str) -> None:
        """Say how many rows have ended without being done yet, and what engines are doing.

        Args:
            under_way: Counted until the next report, or until `advance` counts them as done.
            status: Such as `loading the model`; shown with its duration. Empty shows none.
        """
        self._under_way = under_way
        self._set_status(status)
        self._refresh()

    def show(self, figures: Figures) -> None:
        """Show a counter's figures."""
        self._done, self._under_way = figures.done, 0
        self._total = self._total if figures.total is None else figures.total
        self._note = self._note if figures.note is None else figures.note
        self._set_status(figures.status)
        self._refresh()

    def summary(self) -> str:
        """Return one line about the finished task."""
        seconds = time.monotonic() - self._start
        note = f", {self._note}" if self._note else ""
        return f"{self._title}: {self._done:,} in {seconds:.1f} s ({self._rate():,.1f}/s){note}"

    def _set_status(self, status: str) -> None:
        if status != self._status:
            self._status, self._status_since = status, time.monotonic()

    def _refresh(self) -> None:
        if self._bar is not None:
            progress, number = self._bar
            shown = self._done + self._under_way
            progress.update(
                number,
                completed=shown,
                total=max(self._total, shown),  # retries can make a task longer than planned
                rate=f"{self._rate():,.1f}/s",
                note=visible(", ".join(filter(None, [self._note, self._status_text()]))),
            )
        elif self._line is not None and time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            self._line(f"  {self._title}: {self._plain_text()}")

    def _status_text(self) -> str:
        if not self._status:
            return ""
        return f"{self._status}, {time.monotonic() - self._status_since:.0f} s"

    def _plain_text(self) -> str:
        """Return what is done, the rate and the time left, or what is being done before that."""
        shown = self._done + self._under_way
        if shown == 0:
            seconds = time.monotonic() - self._start
            status = self._status_text() or f"starting, {seconds:.0f} s"
            return f"{status}, 0/{self._total:,}" if self._total else status
        left = max(self._total - shown, 0) / self._rate()
        percent = min(100.0, 100 * shown / max(self._total, 1))
        figures = (
            f"{shown:,}/{self._total:,} ({percent:.0f} %), {self._rate():,.1f}/s, "
            f"{left:,.0f} s left"
        )
        return ", ".join(filter(None, [figures, self._note, self._status_text()]))

    def _rate(self) -> float:
        """Return rows a second since the start of the task."""
        shown = self._done + self._under_way
        return shown / max(time.monotonic() - self._start, 1e-9)
