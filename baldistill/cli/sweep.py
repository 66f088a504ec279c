"""`baldistill sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from baldistill.cli import options
from baldistill.errors import ConfigError
from baldistill.processes import without_collector
from baldistill.shipped import shipped

if TYPE_CHECKING:
    from baldistill.config import Config
    from baldistill.tune.space import Space


SpaceFile = Annotated[
    str | None, typer.Option("--space", help="A YAML file, such as one of tune_spaces/.")
]
Resume = Annotated[
    str | None,
    typer.Option("--resume", metavar="DIR", help="As --run-dir DIR alone: go on with its sweep."),
]
Search = Annotated[
    str | None, typer.Option("--search", help="How to search: grid, random or optuna.")
]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Number of trials.")]
Metric = Annotated[
    str | None,
    typer.Option("--metric", help="What to raise, such as macro, or a trade-off: macro,natural."),
]
Stopping = Annotated[
    str | None,
    typer.Option("--stopping", help="What ends weak trials early: asha, median or none."),
]
Calls = Annotated[
    int | None, typer.Option("--calls", min=1, help="Cap on the teacher calls of all trials.")
]
ValidateSeeds = Annotated[
    str | None,
    typer.Option(
        "--validate-seeds",
        "--seeds",
        help="Then the best against CONFIG on these seeds, comma-separated, beside --calls.",
    ),
]


def sweep(
    items: options.Items = None,
    space: SpaceFile = None,
    method: options.Method = None,
    run_dir: options.RunDirOfMany = None,
    resume: Resume = None,
    search: Search = None,
    trials: Trials = None,
    metric: Metric = None,
    stopping: Stopping = None,
    calls: Calls = None,
    parallel: options.Parallel = None,
    validate_seeds: ValidateSeeds = None,
    address: options.Address = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Search a space with Ray Tune: trials share every answer of the teacher."""
    seeds = options.parse_seeds("--validate-seeds", validate_seeds)
    changes = {
        "search": search,
        "trials": trials,
        "metric": metric.split(",") if metric else None,
        "stopping": stopping,
        "calls": calls,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if resume is not None and (items or method or space or run_dir):
        raise ConfigError(
            "--resume takes config and space from the sweep's folder: leave out CONFIG, "
            "KEY=VALUE, --method, --space and --run-dir"
        )
    alone = not (items or method or space)
    if resume is not None or (alone and run_dir is not None and _holds_sweep(run_dir)):
        config, chosen = _read(str(resume or run_dir), changes)
    else:
        config, chosen = _load(items, method, space, changes)

    with without_collector():
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
    options.print_json(as_json, result)


def _holds_sweep(run_dir: str) -> bool:
    from baldistill.run_folder import layout
    from baldistill.storage import Storage

    return Storage.open(run_dir).exists(layout.SPACE)


def _read(folder: str, changes: dict[str, Any]) -> tuple[Config, Space]:
    """Read the config and the space of the sweep that a folder holds; change keys of the space.

    Raises:
        ConfigError: There is none, or another user may have named code or a server in it.
    """
    from baldistill.run_folder.trust import check_code_is_safe
    from baldistill.storage import Storage
    from baldistill.tune.sweep import read_sweep

    config, space = read_sweep(folder, changes)
    storage = Storage.open(folder)
    check_code_is_safe(storage, config)
    options.say_where_keys_go(storage, config)
    return config, space


def _load(
    items: list[str] | None, method: str | None, space: str | None, changes: dict[str, Any]
) -> tuple[Config, Space]:
    """Load the config and the space of a new sweep; `changes` are keys of the space."""
    from baldistill.config.loading import load_config
    from baldistill.tune.space import load_space

    if space is None:
        raise ConfigError(
            f"--space FILE says what varies: see {shipped('tune_spaces')}/ for some to begin with"
        )
    source, overrides = options.split_items(items)
    return load_config(source, overrides, method), load_space(space, changes)
