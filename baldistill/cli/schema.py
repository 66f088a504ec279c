"""`baldistill schema`."""

from __future__ import annotations

import json

import typer

from baldistill.cli.options import Json


def schema(as_json: Json = False) -> None:
    """Print the JSON Schema of configs, with which an editor completes and checks them."""
    from baldistill.commands.schema import config_schema

    typer.echo(json.dumps(config_schema(), indent=None if as_json else 2))
