"""`baldistill ask`: the student of a run at a prompt."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from baldistill.cli.options import Json, Run, print_json
from baldistill.visible import visible, visible_lines


def ask(
    run: Run,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]",
            help="One question; without it, each line of standard input is one.",
            show_default=False,
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option("--domain", help="Of the questions, where the student is told it."),
    ] = None,
    stage: Annotated[
        int | None,
        typer.Option("--stage", min=1, help="Whose student (default: the last's)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the student of a run, as its evaluations do."""
    from baldistill.commands.ask import RunStudent

    student = RunStudent(run, stage=stage)
    for text in [question] if question is not None else _lines(student.stage):
        if not text.strip():
            continue
        on_text = None if as_json else lambda part: typer.echo(visible_lines(part), nl=False)
        reply = student.ask(text, domain=domain, on_text=on_text)
        if not as_json:
            found = "no answer was found" if reply.answer is None else f"answer: {reply.answer}"
            typer.echo(("" if reply.text.endswith("\n") else "\n") + visible(f"[{found}]"))
        print_json(as_json, {"run_dir": run, "stage": student.stage, **asdict(reply)})


def _lines(stage: int) -> Iterator[str]:
    """Yield the lines of standard input; at a terminal, ask for each."""
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        typer.echo(f"the student of stage {stage}; Ctrl-D ends", err=True)
    while True:
        try:
            yield input("> " if at_terminal else "")
        except (EOFError, KeyboardInterrupt):
            return
