"""`baldistill compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from baldistill.cli import options
from baldistill.errors import ConfigError
from baldistill.processes import without_collector
from baldistill.visible import visible_lines

if TYPE_CHECKING:
    from baldistill.config import Config


def compare(
    items: options.Items = None,
    methods: Annotated[
        str,
        typer.Option("--methods", help="Comma-separated presets, or `all` that can run here."),
    ] = "all",
    seeds: Annotated[
        str, typer.Option("--seeds", help="Seeds of each method, comma-separated.")
    ] = "0,1,2",
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="The method that the others are compared with, seed by seed "
            "(default: baldistill-a, else the first).",
        ),
    ] = None,
    run_dir: options.RunDirOfMany = None,
    address: options.Address = None,
    parallel: options.Parallel = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Run the paper's methods on your corpus at the same budget, and print its table."""
    source, overrides = options.split_items(items)
    numbers = options.parse_seeds("--seeds", seeds)
    with without_collector():
        from baldistill.commands.compare import compare as compare_methods
        from baldistill.commands.compare import on_equal_terms, split_methods
    from baldistill.config.loading import load_config
    from baldistill.methods import METHODS

    names = METHODS if methods == "all" else tuple(name.strip() for name in methods.split(","))
    staged = load_config(source, overrides)

    def config_of(method: str, seed: int) -> Config:
        chosen = [*overrides, f"seed={seed}"]
        return on_equal_terms(load_config(source, chosen, method, method_wins=True), staged)

    # before anything starts: what was asked for by name must run, and of `all` what can
    runnable, reasons = split_methods(lambda name: config_of(name, numbers[0]), names)
    if reasons and (methods != "all" or not runnable):
        raise ConfigError("\n".join(f"{name}: {reason}" for name, reason in reasons.items()))
    for name, reason in reasons.items():
        typer.echo(visible_lines(f"left out, because it cannot run: {name}: {reason}"), err=True)
    result = compare_methods(
        config_of,
        runnable,
        numbers,
        reference=reference,
        left_out=reasons,
        run_dir=run_dir,
        address=address,
        parallel=parallel,
        verbose=verbose,
    )
    options.print_json(as_json, result)
