"""`baldistill sweep`."""

from __future__ import annotations

from typing import Annotated

import typer

from baldistill.cli.options import (
    Address,
    Items,
    Json,
    Method,
    Parallel,
    RunDirOfMany,
    Verbose,
    parse_seeds,
    print_json,
    split_items,
)
from baldistill.errors import ConfigError


def sweep(
    items: Items = None,
    space: Annotated[
        str | None, typer.Option("--space", help="A YAML file, such as one of tune_spaces/.")
    ] = None,
    method: Method = None,
    run_dir: RunDirOfMany = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="DIR", help="Go on with the sweep in this folder."),
    ] = None,
    search: Annotated[str | None, typer.Option("--search", help="grid, random or optuna.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="How many.")] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Such as macro, or a trade-off: macro,natural."),
    ] = None,
    stopping: Annotated[
        str | None, typer.Option("--stopping", help="asha, median or none.")
    ] = None,
    calls: Annotated[
        int | None, typer.Option("--calls", min=1, help="Cap on the teacher calls of all trials.")
    ] = None,
    parallel: Parallel = None,
    validate_seeds: Annotated[
        str | None,
        typer.Option(
            "--validate-seeds",
            help="Then the best against CONFIG on these seeds (comma-separated), outside of "
            "--calls.",
        ),
    ] = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search a space with Ray Tune: trials share every answer of the teacher."""
    seeds = parse_seeds("--validate-seeds", validate_seeds) if validate_seeds is not None else ()
    source, overrides = split_items(items)
    changes = {
        "search": search,
        "trials": trials,
        "metric": metric.split(",") if metric else None,
        "stopping": stopping,
        "calls": calls,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if resume is not None:
        if items or method or space or run_dir:
            raise ConfigError(
                "--resume takes config and space from the sweep's folder: leave out CONFIG, "
                "KEY=VALUE, --method, --space and --run-dir"
            )
        from baldistill.tune.sweep import read_sweep

        config, chosen = read_sweep(resume, changes)
    elif space is not None:
        from baldistill.config.loading import load_config
        from baldistill.tune.space import load_space

        config, chosen = load_config(source, overrides, method), load_space(space, changes)
    else:
        raise ConfigError("--space FILE says what varies: see tune_spaces/ for some to begin with")

    from baldistill.tune.sweep import sweep as run_sweep

    result = run_sweep(
        config,
        chosen,
        run_dir=resume or run_dir,
        address=address,
        parallel=parallel,
        validate_seeds=seeds,
        verbose=verbose,
    )
    print_json(as_json, result)
