"""`baldistill evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from baldistill.cli import options
from baldistill.config.loading import load_config
from baldistill.storage import Storage


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Hub id, path or URI; or a run folder.")
    ],
    items: options.Items = None,
    stage: Annotated[
        int | None,
        typer.Option("--stage", min=1, help="Of a run: whose student (default: the last's)."),
    ] = None,
    run_dir: options.RunDir = None,
    address: options.Address = None,
    store: options.Store = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Let any model answer the evaluation set; with evaluation.teacher=true the teacher, too.

    Where answers are texts, the judge of the config marks them.
    """
    from baldistill.commands.evaluate import config_of_run, is_run
    from baldistill.commands.evaluate import evaluate as examine

    source, overrides = options.split_items(items)
    if source is None and is_run(model):
        config = config_of_run(model, overrides)
        if config.evaluation.teacher or config.judge is not None:
            options.say_where_keys_go(Storage.open(model), config)
    else:
        config = load_config(source, overrides)
    result = examine(
        model,
        config,
        stage=stage,
        run_dir=run_dir,
        address=address,
        store=store,
        verbose=verbose,
    )
    options.print_json(as_json, {"run_dir": result.run_dir, "model": model, **result.metrics})
