"""`baldistill export`: it reads a run folder and starts no Ray."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from baldistill.cli.options import Json, Run, print_json
from baldistill.run_folder.layout import ExportFormat
from baldistill.visible import visible


def export(
    run: Run,
    format: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="By default messages if the student was shown chats, else prompt-completion.",
        ),
    ] = None,
    stage: Annotated[
        int | None,
        typer.Option("--stage", min=1, help="Whose student's examples (default: the last's)."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Folder or URI (default: export/FORMAT in the run folder)."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="OWNER/NAME", help="Upload it to the Hugging Face hub."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public/--private", help="Who can see a data set that --push makes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write what a student learnt from, for other trainers, with a dataset card."""
    from baldistill.commands.export import export as write

    done = write(run, format=format, stage=stage, out=out, push=push, public=public)
    if not as_json:
        typer.echo(visible(f"{done.folder}: {done.num_examples:,} examples in {done.file}"))
        if done.pushed:
            typer.echo(visible(done.pushed))
    values: dict[str, Any] = {"folder": done.folder, "file": done.file, "format": done.format}
    values |= {"stage": done.stage, "examples": done.num_examples, "pushed": done.pushed}
    print_json(as_json, {"run_dir": run, **values})
