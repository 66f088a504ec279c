"""`baldistill preview`."""

from __future__ import annotations

from typing import Annotated

import typer

from baldistill.cli import options


def preview(
    items: options.Items = None,
    rows: Annotated[
        int, typer.Option("-n", "--rows", min=1, max=1000, help="Examples of each domain.")
    ] = 2,
    domains: Annotated[
        int, typer.Option("--domains", min=1, max=1000, help="From the largest to the smallest.")
    ] = 3,
    method: options.Method = None,
    run_dir: options.RunDir = None,
    address: options.Address = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask the teacher about a few examples: prompts, answers, verdicts, costs.

    A run with the same --run-dir goes on from there, and pays for none of it again.
    """
    config = options.config_of(items, run_dir, method)
    from baldistill.commands.preview import preview as look

    result = look(
        config, rows=rows, domains=domains, run_dir=run_dir, address=address, verbose=verbose
    )
    options.print_json(as_json, result.to_dict())
