"""`baldistill publish`: it reads a run folder and starts no Ray."""

from __future__ import annotations

from typing import Annotated

import typer

from baldistill.cli.options import Json, Run, print_json
from baldistill.visible import visible


def publish(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The model on the hub.")],
    stage: Annotated[
        int | None,
        typer.Option("--stage", min=1, help="Whose student (default: the last's)."),
    ] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Its LoRA adapter alone (student.lora.keep).")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public/--private", help="Who can see a model that is made there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the folder instead, and call nobody.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Folder for --dry-run (default: publish in the run folder)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Upload a run's student to the Hugging Face hub, with a model card and a Modelfile."""
    from baldistill.commands.publish import publish as write

    done = write(run, name, stage=stage, adapter=adapter, public=public, dry_run=dry_run, out=out)
    if not as_json:
        what = "the adapter of the student" if adapter else "the student"
        typer.echo(visible(f"{done.address or done.folder}: {what} of stage {done.stage}"))
    values = {"folder": done.folder, "address": done.address, "files": list(done.files)}
    print_json(as_json, {"run_dir": run, "stage": done.stage, **values})
