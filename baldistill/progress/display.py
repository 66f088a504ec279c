"""What the user sees while it runs: bars on a terminal, plain lines in a job's log."""

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
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from baldistill.run_folder.log import RunLog

_LINE_EVERY = 10.0  # seconds between plain lines
_POLL_EVERY = 0.5
_BRIEF = 5.0  # seconds


class Display:
    """Shows messages, tables and progress, and keeps all messages in a log file."""

    def __init__(self, log: RunLog | None = None, *, quiet: bool = False) -> None:
        """Show on standard error, so that standard output is free for results.

        Args:
            log: Gets every message.
            quiet: Show nothing.
        """
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.interactive = self.console.is_terminal and not quiet
        self._log = log
        logger = logging.getLogger("baldistill")
        logger.handlers = [_Said(self)]  # the latest display speaks
        logger.propagate = False

    def say(self, text: str) -> None:
        """Show a line."""
        self.console.print(text, markup=False, soft_wrap=True)
        self._write(text)

    def show(self, renderable: RenderableType) -> None:
        """Show a table."""
        self.console.print(renderable)
        plain = io.StringIO()
        Console(file=plain, width=120, no_color=True).print(renderable)
        self._write("\n" + plain.getvalue().rstrip())

    @contextmanager
    def task(self, title: str, total: int, *, brief: bool = False) -> Iterator[Task]:
        """Show the progress of one task until the block ends.

        Args:
            title: What is done.
            total: How many there are to do.
            brief: Leave no line behind if it took under five seconds.
        """
        start = time.monotonic()
        if self.interactive:
            with Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
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
        """The same for work elsewhere that a `Counter` is told of, as a `counted` function does.

        Raises:
            UserError: What the function raised, out of Ray Data's wrappings.
        """
        ray.get(counter.reset.remote())
        stop = threading.Event()
        with self.task(title, total) as task:

            def poll() -> None:
                while not stop.wait(_POLL_EVERY):
                    task.update(*ray.get(counter.standing.remote()))

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
            task.update(*ray.get(counter.standing.remote()))

    def _write(self, text: str) -> None:
        if self._log is not None:
            self._log.write(text)


class _Said(logging.Handler):
    """Shows what parts of the package without a display log."""

    def __init__(self, display: Display) -> None:
        super().__init__(logging.INFO)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record's message."""
        self._display.say(f"  {record.getMessage()}")


class Task:
    """One thing that takes a while."""

    def __init__(
        self,
        title: str,
        total: int,
        start: float,
        *,
        bar: tuple[Progress, TaskID] | None = None,
        line: Any = None,
    ) -> None:
        """Made by `Display.task`."""
        self._title, self._total, self._start = title, total, start
        self._bar, self._line, self._last_line = bar, line, start
        self._done, self._note = 0, ""

    def advance(self, count: int = 1) -> None:
        """Some more are done."""
        self.update(self._done + count)

    def update(self, done: int, note: str | None = None, total: int | None = None) -> None:
        """So many are done (of `total`); `note` is shown behind the figures."""
        self._done = done
        self._total = self._total if total is None else total
        self._note = self._note if note is None else note
        if self._bar is not None:
            progress, number = self._bar
            total = max(self._total, done)  # retries can make a task longer than planned
            rate = f"{self._rate():,.1f}/s"
            progress.update(number, completed=done, total=total, rate=rate, note=self._note)
        elif self._line is not None and time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            self._line(f"  {self._title}: {self._standing()}")

    def summary(self) -> str:
        """One line about the finished task."""
        seconds = time.monotonic() - self._start
        note = f", {self._note}" if self._note else ""
        return f"{self._title}: {self._done:,} in {seconds:.1f} s ({self._rate():,.1f}/s){note}"

    def _standing(self) -> str:
        """Done, rate and time left; the rate counts from the start of the task."""
        if self._done == 0:
            return f"starting, 0/{self._total:,}"
        left = max(self._total - self._done, 0) / self._rate()
        percent = min(100.0, 100 * self._done / max(self._total, 1))
        note = f", {self._note}" if self._note else ""
        return (
            f"{self._done:,}/{self._total:,} ({percent:.0f} %), {self._rate():,.1f}/s, "
            f"{left:,.0f} s left{note}"
        )

    def _rate(self) -> float:
        return self._done / max(time.monotonic() - self._start, 1e-9)
