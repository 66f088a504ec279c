"""The command line: its commands, signals and exit statuses."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from typing import Annotated

import typer

from baldistill import __version__
from baldistill.cli import (
    ask,
    compare,
    data,
    doctor,
    evaluate,
    export,
    judge,
    preview,
    publish,
    repair,
    report,
    run,
    schema,
    sweep,
)
from baldistill.disk_errors import disk_problem
from baldistill.errors import UserError
from baldistill.masking import masked_text
from baldistill.visible import visible_lines

app = typer.Typer(
    name="baldistill",
    help="Multi-Stage Balanced Distillation: a long-tailed corpus, a teacher and a budget become "
    "a student that is good in every domain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(run.run)
app.command()(run.plan)
app.command()(doctor.doctor)
app.command()(preview.preview)
app.command()(compare.compare)
app.command()(sweep.sweep)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(report.browse)
app.command()(report.ledger)
app.command()(export.export)
app.command()(ask.ask)
app.command()(publish.publish)
app.command()(repair.repair)
app.command()(schema.schema)
app.add_typer(schema.config, hidden=True)
app.add_typer(data.app)
app.add_typer(judge.app)

_INTERRUPTED = 130
_RESUME = (
    b"interrupted; to resume: the same command with --run-dir (for a sweep: --resume) and the "
    b"folder above\n"
)
_GRACE_SECONDS = 2.0


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"baldistill {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process.

    Exit status: 0 done; 2 the user can mend the problem (no traceback); 1 a defect of ours, or
    damage that `repair` found; 130 interrupted.
    """
    signal.signal(signal.SIGTERM, _stop)
    if isinstance(sys.stdout, io.TextIOWrapper):  # its encoding may lack characters of the corpus
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does
    try:
        _check_encoding(sys.argv[1:] if arguments is None else arguments)
        app(arguments, standalone_mode=True)
    except UserError as error:
        typer.echo(visible_lines(masked_text(f"error: {error}")), err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            sys.stdout.flush()
            _end_interrupted()
        raise
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        typer.echo(visible_lines(f"error: {problem}"), err=True)
        sys.exit(2)


def _check_encoding(arguments: list[str]) -> None:
    """Refuse bytes that are no text: paths and URIs go into JSON, tables and Ray's messages."""
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(f"the argument {argument!r} is not valid UTF-8") from None


def _stop(*_: object) -> None:
    """End on SIGTERM as on Ctrl-C: cleanly, but within two seconds.

    `ray job stop` and Kubernetes send SIGTERM, and kill the process a few seconds later. A clean
    end may take longer: Ray may be slow to shut down, and Python drops an exception that is raised
    in a garbage collection. A timer then ends the process: a run can be killed at any moment.
    """
    timer = threading.Timer(_GRACE_SECONDS, _end_interrupted)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _end_interrupted() -> None:
    os.write(2, _RESUME)
    os._exit(_INTERRUPTED)  # the exit handlers of a Ray that was interrupted at its start crash
