"""`baldistill repair`: it reads a run folder and starts no Ray."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from baldistill.cli.options import Json, Run, print_json
from baldistill.visible import visible

if TYPE_CHECKING:
    from baldistill.commands.repair import Repair


def repair(
    run: Run,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Give up what is damaged, so that the run can go on."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say which files of a run are damaged, and what going on without them gives up.

    Exit status: 0 if nothing is damaged or the loss was accepted, otherwise 1.
    """
    from baldistill.commands.repair import repair as look

    found = look(run, accept_loss=accept_loss)
    for line in _lines(found):
        typer.echo(visible(line), err=True)
    damage = [{"file": one.file, "problem": one.problem, "loss": one.loss} for one in found.damage]
    values = {"damage": damage, "accepted": found.accepted, "unknown": found.unknown}
    print_json(as_json, {"run_dir": found.run_dir, **values})
    if found.damage and not accept_loss:
        sys.exit(1)


def _lines(found: Repair) -> list[str]:
    """Say what was found and, if anything is damaged, what to do."""
    unknown = [
        "an earlier version committed these steps and recorded no files, so damage to their files "
        f"cannot be told: {', '.join(found.unknown)}"
    ] * bool(found.unknown)
    if not found.damage:
        return [*unknown, f"no damage in {found.run_dir}: all is as it was recorded"]
    uri = shlex.quote(found.run_dir)
    return [
        *unknown,
        *(damage.describe() for damage in found.damage),
        "given up:" if found.accepted else "going on without gives up:",
        *(f"  {loss}" for loss in found.losses),
        f"to go on: baldistill run --run-dir {uri}, or the command that made this run"
        if found.accepted
        else "nothing is changed: restore the files from a copy, or accept the loss: "
        f"baldistill repair {uri} --accept-loss",
    ]
