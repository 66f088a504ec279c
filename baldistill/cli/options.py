"""The options that several commands share, each defined once, and what they mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baldistill.errors import ConfigError
from baldistill.visible import visible_lines

if TYPE_CHECKING:
    from baldistill.config import Config
    from baldistill.storage import Storage

Items = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE ...]",
        help="A YAML file (the built-in quickstart without one), and options by dotted keys.",
        show_default=False,
    ),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder: path or URI.")]
RunDir = Annotated[
    str | None,
    typer.Option("--run-dir", help="Folder or URI of the run; the same folder resumes."),
]
RunDirOfMany = Annotated[
    str | None,
    typer.Option("--run-dir", "--out", help="Folder or URI of the runs; the same folder resumes."),
]
Method = Annotated[
    str | None,
    typer.Option("--method", help="A preset of the paper's methods, such as baldistill-a."),
]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", min=1, help="Runs side by side (default: as many as fit)."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="A Ray cluster (RAY_ADDRESS otherwise, or a local Ray)."),
]
Store = Annotated[
    str | None,
    typer.Option("--store", help="Folder or URI of teacher answers to share among runs."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Ray's own messages too.")]


def split_items(items: list[str] | None) -> tuple[str | None, list[str]]:
    """Split the arguments into CONFIG, where the first is no KEY=VALUE, and the overrides."""
    words = items or []
    return (words[0], words[1:]) if words and "=" not in words[0] else (None, words)


def config_of(
    items: list[str] | None, run_dir: str | None, method: str | None, *, spends: bool = True
) -> Config:
    """Load the config that the arguments name: by default that of the run folder, if it has one.

    Of a folder's own config, say where it sends the teacher's key, if the command `spends`.
    """
    from baldistill.config.loading import load_config

    source, overrides = split_items(items)
    if not items and method is None and run_dir:
        from baldistill.run_folder import layout
        from baldistill.run_folder.trust import check_code_is_safe
        from baldistill.storage import Storage

        folder = Storage.open(run_dir)
        if folder.exists(layout.CONFIG):
            config = load_config(folder.uri_of(layout.CONFIG))
            check_code_is_safe(folder, config)
            if spends:
                say_where_keys_go(folder, config)
            return config
    return load_config(source, overrides, method)


def say_where_keys_go(folder: Storage, config: Config) -> None:
    """Tell the user which servers a folder's own config sends keys to.

    Raises:
        ConfigError: Another user wrote the config, or can write to it.
    """
    from baldistill.run_folder.trust import check_key_is_safe

    for line in check_key_is_safe(folder, config):
        typer.echo(visible_lines(line), err=True)


def parse_seeds(option: str, text: str | None) -> tuple[int, ...]:
    """Read seeds such as `0,1,2`, the value of an option; none if the option is not given.

    Raises:
        ConfigError: The text is no list of whole numbers.
    """
    if text is None:
        return ()
    if not all(seed.strip().isdigit() for seed in text.split(",")):
        raise ConfigError(f"{option} {text!r} is not a list of whole numbers such as 0,1,2")
    return tuple(int(seed) for seed in text.split(","))


def print_json(wanted: bool, value: dict[str, Any]) -> None:
    """Print the object of `--json`, where it is wanted."""
    if wanted:
        typer.echo(json.dumps(value))
