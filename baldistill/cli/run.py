"""`baldistill run` and `baldistill plan`."""

from __future__ import annotations

import shlex

import typer

from baldistill.cli import options
from baldistill.processes import without_collector
from baldistill.shipped import shipped
from baldistill.visible import visible_lines

_NEXT = """next:
  baldistill report {run}      pictures and tables: {page}
  baldistill ask {run}      the student at a prompt
  baldistill data describe my.yaml      your own data: start from {example}"""


def run(
    items: options.Items = None,
    method: options.Method = None,
    run_dir: options.RunDir = None,
    address: options.Address = None,
    store: options.Store = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Distil: the main job. Offline, on the bundled models, without a CONFIG."""
    config = options.config_of(items, run_dir, method)
    with without_collector():
        from baldistill.commands.run import run as run_distillation
        from baldistill.report.page import report as write_report

    result = run_distillation(
        config, run_dir=run_dir, address=address, store=store, verbose=verbose
    )
    page = write_report(result.run_dir)
    said = f"report: {page}"
    if config.data.train == "bundled":
        said = _NEXT.format(
            run=shlex.quote(result.run_dir), page=page, example=shipped("examples/own-data.yaml")
        )
    typer.echo(visible_lines(said), err=True)
    options.print_json(as_json, {"run_dir": result.run_dir, **result.metrics})


def plan(
    items: options.Items = None,
    method: options.Method = None,
    run_dir: options.RunDir = None,
    address: options.Address = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what a run would spend: quotas, calls, tokens, money. Calls nobody."""
    config = options.config_of(items, run_dir, method, spends=False)
    from baldistill.commands.plan import plan as plan_run

    result = plan_run(config, run_dir=run_dir, address=address, verbose=verbose)
    options.print_json(as_json, result.to_dict())
