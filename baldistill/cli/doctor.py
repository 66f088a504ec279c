"""`baldistill doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from baldistill.cli import options
from baldistill.terminal import make_console, print_line

_SIGNS = {"fine": "ok     ", "warning": "warning", "problem": "PROBLEM"}


def doctor(
    items: options.Items = None,
    method: options.Method = None,
    run_dir: options.RunDir = None,
    address: options.Address = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Look for what would keep a run from its end. Exit status 2 if there is a problem."""
    config = options.config_of(items, run_dir, method)
    from baldistill.commands.doctor import Finding, worst
    from baldistill.commands.doctor import doctor as examine

    console = make_console(stderr=as_json)
    findings: list[Finding] = []
    for finding in examine(config, run_dir=run_dir, address=address, verbose=verbose):
        findings.append(finding)
        print_line(console, f"{_SIGNS[finding.state]}  {finding.subject}: {finding.text}")
        if finding.fix:
            print_line(console, f"         -> {finding.fix}")
    state = worst(findings)
    options.print_json(as_json, {"state": state, "findings": [asdict(one) for one in findings]})
    if state == "problem":
        raise typer.Exit(2)
