"""The command line. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Annotated, Any

import typer

from baldistill.cli import data
from baldistill.errors import UserError

app = typer.Typer(
    name="baldistill",
    help="Multi-Stage Balanced Distillation: a long-tailed corpus, a teacher and a budget become "
    "a student that is good in every domain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(data.app)

_INTERRUPTED = 130
_RESUME = (
    b"interrupted; to resume: the same command with --run-dir (for a sweep: --resume) and the "
    b"folder above\n"
)
_GRACE_SECONDS = 2.0

Items = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE ...]",
        help="A YAML file (the built-in quickstart without one), and options by dotted keys.",
        show_default=False,
    ),
]
RunDir = Annotated[
    str | None,
    typer.Option("--run-dir", help="Folder or URI of the run; the same folder resumes."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="A Ray cluster (RAY_ADDRESS otherwise, or a local Ray)."),
]
Method = Annotated[
    str | None,
    typer.Option("--method", help="A preset of the paper's methods, such as baldistill-a."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Ray's own messages too.")]


@app.command()
def run(
    items: Items = None,
    method: Method = None,
    run_dir: RunDir = None,
    address: Address = None,
    store: Annotated[
        str | None,
        typer.Option("--store", help="Folder or URI of teacher answers to share among runs."),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Distil: the main job. Offline, on the bundled models, without a CONFIG."""
    config = _config(items, run_dir, method)
    from baldistill.commands.run import run as run_distillation
    from baldistill.report.page import report as write_report

    result = run_distillation(
        config, run_dir=run_dir, address=address, store=store, verbose=verbose
    )
    page = write_report(result.run_dir)
    typer.echo(f"report: {page}", err=True)
    if as_json:
        typer.echo(json.dumps({"run_dir": result.run_dir, **result.metrics}))


@app.command()
def plan(
    items: Items = None,
    method: Method = None,
    run_dir: RunDir = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what a run would spend: quotas, calls, tokens, money. Calls nobody."""
    config = _config(items, run_dir, method)
    from baldistill.commands.plan import forecast

    result = forecast(config, run_dir=run_dir, address=address, verbose=verbose)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))


@app.command()
def compare(
    items: Items = None,
    methods: Annotated[
        str, typer.Option("--methods", help="Comma-separated presets, or `all`.")
    ] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Comma-separated.")] = "0,1,2",
    out: Annotated[
        str | None, typer.Option("--out", help="Folder or URI; the same folder resumes.")
    ] = None,
    address: Address = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", min=1, help="Runs side by side (default: auto).")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run the paper's methods on your corpus at the same budget, and print its table."""
    from baldistill.config.loading import load_config
    from baldistill.errors import ConfigError
    from baldistill.methods import METHODS

    source, overrides = _split(items)
    names = METHODS if methods == "all" else tuple(name.strip() for name in methods.split(","))
    if not all(seed.strip().isdigit() for seed in seeds.split(",")):
        raise ConfigError(f"--seeds {seeds!r} is not a list of whole numbers such as 0,1,2")
    numbers = tuple(int(seed) for seed in seeds.split(","))

    from baldistill.commands.compare import compare as compare_methods
    from baldistill.commands.compare import on_equal_terms

    staged = load_config(source, overrides)

    def config_of(method: str, seed: int) -> Any:
        chosen = [*overrides, f"seed={seed}"]
        config = load_config(source, chosen, method, method_wins=True)
        return on_equal_terms(config, staged)

    for name in names:  # a wrong name or option is told before anything starts
        config_of(name, numbers[0])
    result = compare_methods(
        config_of, names, numbers, out=out, address=address, parallel=parallel, verbose=verbose
    )
    if as_json:
        typer.echo(json.dumps(result))


@app.command()
def sweep(
    items: Items = None,
    space: Annotated[
        str | None, typer.Option("--space", help="A YAML file, such as one of tune_spaces/.")
    ] = None,
    method: Method = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Folder or URI; the same folder resumes.")
    ] = None,
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
    parallel: Annotated[
        int | None, typer.Option("--parallel", min=1, help="Trials side by side (default: auto).")
    ] = None,
    validate_seeds: Annotated[
        str | None,
        typer.Option(
            "--validate-seeds",
            help="Then the best against CONFIG on these seeds, outside of --calls.",
        ),
    ] = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search a space with Ray Tune: trials share every answer of the teacher."""
    from baldistill.tune.command import run_sweep

    source, overrides = _split(items)
    metrics = metric.split(",") if metric else None
    changes = {"search": search, "trials": trials, "metric": metrics}
    changes |= {"stopping": stopping, "calls": calls}
    result = run_sweep(
        source,
        overrides,
        method,
        space=space,
        resume=resume,
        changes={key: value for key, value in changes.items() if value is not None},
        seeds=validate_seeds,
        out=out,
        address=address,
        parallel=parallel,
        verbose=verbose,
    )
    if as_json:
        typer.echo(json.dumps(result))


@app.command()
def report(run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Write the page and pictures of a run."""
    from baldistill.report.page import report as write_report

    typer.echo(write_report(run))


@app.command()
def ledger(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder: path or URI.")],
    csv: Annotated[
        str | None, typer.Option("--csv", help="Write every request to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a run has spent on its teacher so far, also while it is at work."""
    from baldistill.report import requests as accounts

    spending = accounts.ledger(run, csv_path=csv)
    accounts.show(run, spending)
    if as_json:
        typer.echo(json.dumps(accounts.to_dict(spending)))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exit status: 0 done; 2 the user can mend it (no traceback); 1 a defect of ours; 130
    interrupted.
    """
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(arguments, standalone_mode=True)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            sys.stdout.flush()
            _interrupted()
        raise


def _stop(*_: object) -> None:
    """End on SIGTERM, which `ray job stop` and Kubernetes send, as on Ctrl-C: cleanly, but soon.

    They kill after a few seconds. An exception that is raised in a garbage collection is dropped
    by Python, and Ray may be slow to shut down: then the process ends as it is, for a run can be
    killed at any moment.
    """
    last = threading.Timer(_GRACE_SECONDS, _interrupted)
    last.daemon = True
    last.start()
    raise KeyboardInterrupt


def _interrupted() -> None:
    os.write(2, _RESUME)
    os._exit(_INTERRUPTED)  # Ray, interrupted while it starts, crashes in its exit handlers


def _config(items: list[str] | None, run_dir: str | None, method: str | None) -> Any:
    from baldistill.config.loading import load_config

    source, overrides = _split(items)
    if not items and method is None and run_dir:
        from baldistill.storage import Storage

        folder = Storage.open(run_dir)
        if folder.exists("config.yaml"):
            source = folder.uri_of("config.yaml")  # resume without naming the config again
    return load_config(source, overrides, method)


def _split(items: list[str] | None) -> tuple[str | None, list[str]]:
    """CONFIG, where the first item is no KEY=VALUE, and the overrides."""
    words = list(items or [])
    source = words.pop(0) if words and "=" not in words[0] else None
    return source, words
