"""`baldistill data`: look at a corpus, check it, make one."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baldistill.cli.options import Address, Json, Verbose, print_json, split_items
from baldistill.errors import ConfigError, UserError

if TYPE_CHECKING:
    from baldistill.config import Config

app = typer.Typer(
    name="data", help="Look at a corpus, check it, or make one.", no_args_is_help=True
)

Corpus = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG|FILE] [KEY=VALUE ...]",
        help="A config, or the data itself (file, folder, glob, URI); options by dotted keys.",
        show_default=False,
    ),
]


@app.command()
def describe(
    items: Corpus = None, address: Address = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Show the domains with their sizes, head and tail, and how unequal they are."""
    config = _config_of(items)
    from baldistill.commands.inspect_corpus import describe as show
    from baldistill.commands.inspect_corpus import inspect_corpus
    from baldistill.progress.display import Display

    display = Display()
    found = inspect_corpus(config, address=address, verbose=verbose, display=display)
    show(found, config, display)
    print_json(as_json, found.to_dict(config.evaluation.head_mass))


@app.command()
def validate(
    items: Corpus = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Bad rows to show.")] = 20,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the rows that are left out, with reasons and lines. Status 2 if a run would stop."""
    config = _config_of(items)
    from baldistill.commands.inspect_corpus import inspect_corpus
    from baldistill.commands.inspect_corpus import validate as show
    from baldistill.progress.display import Display

    display = Display()
    found = inspect_corpus(config, address=address, verbose=verbose, display=display)
    print_json(as_json, asdict(found.corpus))
    show(found, config, display, rows)


@app.command()
def domains(
    items: Corpus = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the rows with their domain: .parquet or .jsonl."),
    ] = None,
    run_dir: Annotated[
        str | None,
        typer.Option(
            "--run-dir",
            help="Of data.domains.names: folder or URI of the teacher's answers; `plan` and `run` "
            "go on there.",
        ),
    ] = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the domains that a corpus has or is given (data.domains), with typical rows of each.

    Nobody is called, but for data.domains.names: then the teacher is asked about a sample.
    """
    config = _config_of(items)
    from baldistill.commands.inspect_domains import inspect_domains, show_domains
    from baldistill.progress.display import Display

    display = Display()
    found = inspect_domains(
        config, out=out, run_dir=run_dir, address=address, verbose=verbose, display=display
    )
    show_domains(found, config, display)
    if found.run_dir is not None:
        display.say(
            f"next: baldistill plan or run with the same config and --run-dir {found.run_dir}: "
            "no answer is paid again"
        )
    if out is not None:
        chats = config.data.columns.messages is not None
        display.say(
            f"next: data.train={out} data.columns.domain=domain data.columns.id=example_id "
            "data.columns.split=split"
            + (" data.columns.messages=messages data.columns.answer=answer" if chats else "")
        )
    print_json(as_json, found.to_dict())


RecipeName = Annotated[
    str,
    typer.Argument(
        help="r52, reuters, abstractive-qa, multiple-choice-qa, math: the paper's corpora, "
        "from the Hugging Face hub; zipf: any corpus made long-tailed."
    ),
]


@app.command()
def make(
    name: RecipeName,
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE ...]", help="For zipf: options of the corpus."),
    ] = None,
    out: Annotated[str, typer.Option("--out", help="Folder to write to.")] = ".",
    source: Annotated[
        str | None,
        typer.Option("--input", help="For zipf: a config, or the data (file, folder, URI)."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", min=0.0, help="Zipf exponent of the domain sizes; 0 cuts nothing."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which rows a domain keeps.")] = 0,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="A folder with copies of the hub's data sets."),
    ] = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write train.parquet, evaluation.parquet and the config.yaml that reads them."""
    from baldistill.data.recipes.catalogue import RECIPES

    if name == "zipf":
        if source is None or alpha is None:
            raise UserError("data make zipf needs --input and --alpha, such as --alpha 2")
    elif name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}; known: {', '.join(RECIPES)}, zipf")
    elif source is not None or items:
        raise UserError(f"--input and KEY=VALUE are for zipf; {name} reads from the hub")

    from baldistill.data.recipes.make import make_long_tailed, make_recipe
    from baldistill.placement.cluster import connected
    from baldistill.progress.display import Display

    display = Display()
    track = partial(display.task, brief=True)
    if source is not None and alpha is not None:
        config = _config_of([source, *(items or []), f"seed={seed}"])
        with connected(address, verbose=verbose):
            made = make_long_tailed(config, out, alpha=alpha, track=track)
    else:
        made = make_recipe(RECIPES[name], out, seed=seed, alpha=alpha, mirror=mirror, track=track)
    display.say(
        f"{sum(made.counts.values()):,} rows to train on in {len(made.counts)} domains, "
        f"{sum(made.evaluation_counts.values()):,} to evaluate on"
    )
    if made.left_out:
        display.say(f"in one part only, left out: {', '.join(made.left_out)}")
    display.say(f"next: baldistill plan {made.config}")
    print_json(as_json, asdict(made))


def _config_of(items: list[str] | None) -> Config:
    """Load the config; where data are named instead, make a config that reads the data."""
    from baldistill.config.loading import load_config

    source, overrides = split_items(items)
    if source is None or Path(source).suffix.lower() in (".yaml", ".yml"):
        return load_config(source, overrides)
    return load_config(None, [f"data.train={json.dumps(source)}", *overrides])
