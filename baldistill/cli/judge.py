"""`baldistill judge check`."""

from __future__ import annotations

from typing import Annotated

import typer

from baldistill.cli import options

app = typer.Typer(name="judge", help="The judge of answers that are texts.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `check` a command of its own, although it is the only one."""


@app.command()
def check(
    labelled: Annotated[
        str,
        typer.Option(
            "--labelled", help="JSON lines of a person's labels: question, response, label."
        ),
    ],
    items: options.Items = None,
    run_dir: options.RunDir = None,
    address: options.Address = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Show how far the judge agrees with a person: accuracy, Cohen's kappa, confusion."""
    config = options.config_of(items, None, None)
    from baldistill.commands.judge_check import judge_check

    result = judge_check(config, labelled, run_dir=run_dir, address=address, verbose=verbose)
    options.print_json(as_json, result.to_dict())
