"""`baldistill schema`, which answers to `baldistill config schema`, too."""

from __future__ import annotations

import json

import typer

from baldistill.cli.options import Json

config = typer.Typer(name="config", help="The config: `baldistill config schema`.")


@config.command()
def schema(as_json: Json = False) -> None:
    """Print the JSON Schema of configs, with which an editor completes and checks them."""
    from baldistill.commands.schema import config_schema

    typer.echo(json.dumps(config_schema(), indent=None if as_json else 2))
