"""`baldistill report` and `baldistill ledger`: they read run folders and start no Ray."""

from __future__ import annotations

from typing import Annotated

import typer

from baldistill.cli.options import Json, Run, print_json
from baldistill.visible import visible


def report(run: Run, as_json: Json = False) -> None:
    """Write the page and pictures of a run."""
    from baldistill.report.page import report as write_report

    page = write_report(run)
    if not as_json:
        typer.echo(visible(page))
    print_json(as_json, {"run_dir": run, "report": page})


def browse(
    run: Run,
    out: Annotated[
        str | None, typer.Option("--out", help="Folder or URI (default: browse in the run folder).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page with every row of a run, to search, filter and sort."""
    from baldistill.report.browse import browse as write_page

    done = write_page(run, out=out)
    if not as_json:
        typer.echo(visible(f"{done.page}: {done.num_rows:,} rows"))
    print_json(as_json, {"run_dir": run, "page": done.page, "rows": done.num_rows})


def ledger(
    run: Run,
    csv: Annotated[
        str | None, typer.Option("--csv", help="Write every request to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a run has spent on its teacher so far, also while it is at work."""
    from baldistill.report import requests

    spending = requests.ledger(run, csv_path=csv)
    requests.show(run, spending)
    print_json(as_json, requests.to_dict(spending))
