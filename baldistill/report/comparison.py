"""The tables of a comparison: methods by metrics, with intervals and differences over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.core.longtail import by_size
from baldistill.core.metrics import against_teacher
from baldistill.errors import ConfigError
from baldistill.report.figures.comparison import draw_comparison
from baldistill.report.formats import csv_text, markdown_table, percent
from baldistill.report.intervals import interval, is_clear_of_zero, paired
from baldistill.report.ranks import both_ends
from baldistill.report.tables import score
from baldistill.run_folder.layout import METRIC_NAMES, TABLE_METRICS, comparison_file
from baldistill.storage import Storage

DEFAULT_REFERENCE = "baldistill-a"
_WORST = "worst"
_CALLS = "calls"
_OWN = "own/"  # before the name of a user's own metric, as in the `metric` of a sweep
_COMPARED = ("macro", "natural", _WORST, "tail", "entropy", "dodrans", _CALLS)
"""Figures whose differences are told, beside the user's own metrics."""
_HEADS = {_WORST: "worst domain", _CALLS: "teacher calls"}
_CLEAR = "*"
_MOST_DOMAINS = 60  # in comparison.md; comparison.csv has all


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a comparison.

    Attributes:
        metrics: The content of its `metrics.json`.
        counts: Examples of each domain in its corpus.
        reused: Answers of the teacher that another run had paid for.
        seconds: How long it took now; about 0 for a run that was complete before.
    """

    method: str
    seed: int
    metrics: dict[str, Any]
    counts: dict[str, int]
    reused: int
    seconds: float

    @property
    def calls(self) -> int:
        """Return the teacher calls that the run paid for."""
        return int(self.metrics["budget"]["total"]["calls"])

    def figure(self, name: str) -> float | None:
        """Return a metric, or the calls of the run alone; None where the run has no such metric.

        Args:
            name: One of METRIC_NAMES, `calls`, or `own/NAME` for a metric of the user's own.
        """
        if name == _CALLS:
            return float(self.calls + self.reused)
        if name.startswith(_OWN):
            own: Mapping[str, float] = self.metrics.get("own", {})
            return own.get(name.removeprefix(_OWN))
        value: float | None = self.metrics.get(name)
        if name == _WORST and value is None:  # of an earlier version
            figures = self.metrics["per_domain"].values()
            return min((float(domain["score"]) for domain in figures), default=None)
        return value


def write_comparison(folder: Storage, data: Mapping[str, Any]) -> None:
    """Write `comparison.json`, `.md` and `.csv`, and the pictures, into a folder."""
    folder.write_json(comparison_file("json"), data)
    folder.write_text(comparison_file("md"), markdown(data))
    folder.write_text(comparison_file("csv"), csv_text(_rows(data)))
    for picture in draw_comparison(data):
        picture.save(folder)


def reference_of(methods: Sequence[str], wanted: str | None = None) -> str:
    """Return the method that others are compared with: BalDistill-A, or else the first.

    Raises:
        ConfigError: The wanted one is not among the methods.
    """
    if wanted is not None and wanted not in methods:
        raise ConfigError(f"--reference {wanted} is none of the methods: {', '.join(methods)}")
    return wanted or (DEFAULT_REFERENCE if DEFAULT_REFERENCE in methods else methods[0])


def summarise(
    outcomes: Sequence[Outcome],
    reference: str | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Compute `comparison.json`: figures of each method, and its differences to the reference.

    Args:
        outcomes: A run for each method and seed.
        reference: A method of them; see `reference_of`.
        left_out: Methods that cannot run here, and why.
    """
    methods = list(dict.fromkeys(outcome.method for outcome in outcomes))
    reference = reference_of(methods, reference)
    sizes: dict[str, float] = {}
    for outcome in outcomes:
        for domain, count in outcome.counts.items():
            sizes[domain] = sizes.get(domain, 0) + count / len(outcomes)
    of_method = {name: [o for o in outcomes if o.method == name] for name in methods}
    own = dict.fromkeys(_OWN + name for o in outcomes for name in o.metrics.get("own", {}))
    rows = [
        _summary(mine, None if name == reference else of_method[reference], sizes, list(own))
        for name, mine in of_method.items()
    ]
    paid = sum(outcome.calls for outcome in outcomes)
    by_teacher = any(outcome.metrics.get("gold") == "teacher" for outcome in outcomes)
    return {
        **({"measure": against_teacher("accuracy")} if by_teacher else {}),
        "reference": reference,
        "left_out": dict(left_out or {}),
        "rows": rows,
        "domains": by_size(sizes),
        "sizes": sizes,
        "calls_alone": paid + sum(outcome.reused for outcome in outcomes),
        "calls_together": paid,
    }


def _summary(
    mine: Sequence[Outcome],
    others: Sequence[Outcome] | None,
    sizes: Mapping[str, float],
    own: Sequence[str],
) -> dict[str, Any]:
    """Return a row of `comparison.json`.

    Args:
        mine: The runs of the method.
        others: Those of the reference; None for its own row.
        sizes: The domains.
        own: The user's own metrics, as `own/NAME`.
    """
    per_domain = [outcome.metrics["per_domain"] for outcome in mine]
    return {
        "method": mine[0].method,
        "seeds": [outcome.seed for outcome in mine],
        **{
            name: interval([v for o in mine if (v := o.figure(name)) is not None])
            for name in (*METRIC_NAMES, _CALLS, *own)
        },
        "differences": {}
        if others is None
        else {
            name: paired(_by_seed(mine, name), _by_seed(others, name))
            for name in (*_COMPARED, *own)
        },
        "per_domain": {
            domain: interval([d[domain]["score"] for d in per_domain if domain in d])
            for domain in sizes
        },
        "calls_alone": statistics.mean(o.calls + o.reused for o in mine),
        "examples": statistics.mean(o.metrics["budget"]["annotated"] for o in mine),
    }


def _by_seed(outcomes: Sequence[Outcome], name: str) -> dict[int, float | None]:
    return {outcome.seed: outcome.figure(name) for outcome in outcomes}


def _own(data: Mapping[str, Any]) -> list[str]:
    """Return the user's own metrics of a `comparison.json`, as `own/NAME`."""
    return [name for name in data["rows"][0] if name.startswith(_OWN)]


def markdown(data: Mapping[str, Any]) -> str:
    """Write the tables: methods by metrics, methods by own metrics, domains by methods."""
    rows = data["rows"]
    methods = _methods(rows, (*TABLE_METRICS, _CALLS))
    if own := _own(data):
        methods += ["", "Your own metrics (`evaluation.metrics`), as they are, not in percent:"]
        methods += ["", *_methods(rows, own)]
    domains = markdown_table(
        ["domain", "examples", *(row["method"] for row in rows)],
        [_domain_cells(domain, data) for domain in both_ends(data["domains"], _MOST_DOMAINS)],
    )
    return "\n".join([*methods, "", _note(data), "", *domains, ""])


def _methods(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Return a table with a row for each method and a column for each figure."""
    return markdown_table(
        ["method", *(_HEADS.get(name, name) for name in names)],
        [[row["method"], *(_cell(row, name) for name in names)] for row in rows],
    )


def _cell(row: Mapping[str, Any], name: str) -> str:
    """Return `86.1 ± 1.2 (+0.8 ± 0.5*)`: a figure and, in brackets, its difference."""
    written = _calls if name == _CALLS else _plain if name.startswith(_OWN) else percent
    text = written(row[name]["mean"], row[name]["half"])
    difference = row["differences"].get(name)
    if difference is None or difference["mean"] is None:
        return text
    sign = "+" if difference["mean"] >= 0 else ""
    mark = _CLEAR if is_clear_of_zero(difference) else ""
    return f"{text} ({sign}{written(difference['mean'], difference['half'])}{mark})"


def _calls(mean: float, half: float | None) -> str:
    return f"{mean:,.0f}" + (f" ± {half:,.0f}" if half is not None else "")


def _plain(mean: float | None, half: float | None) -> str:
    """Write a figure that may be no share, as a run and its report write it."""
    return score(mean) + (f" ± {score(half)}" if half is not None else "")


def _note(data: Mapping[str, Any]) -> str:
    """Say what the figures are, what the brackets and the mark mean, and what was left out."""
    seeds = len(data["rows"][0]["seeds"])
    over = f"mean and 95 % interval over {seeds} seeds" if seeds > 1 else "of a single seed"
    measure = data.get("measure", "accuracy").capitalize()
    note = (
        f"{measure} in percent, {over}; teacher calls of one run alone. All runs: "
        f"{data['calls_alone']:,} calls alone, {data['calls_together']:,} paid together."
    )
    if len(data["rows"]) > 1:
        note += f" In brackets: the difference to {data['reference']} on the same seeds"
        note += (
            f", with its 95 % interval; {_CLEAR} where this interval is clear of 0 (of twenty "
            "differences that are none, one is clear by chance)."
            if seeds > 1
            else "; a single seed says nothing of what another would do."
        )
    for method, reason in data["left_out"].items():
        note += f" Left out, because it cannot run here: {method} ({' '.join(reason.split())})."
    return note


def _domain_cells(domain: str | None, data: Mapping[str, Any]) -> list[str]:
    """Return name, size and each method's mean of a domain; dots for None."""
    if domain is None:
        return ["⋮", "", *("" for _ in data["rows"])]
    means = [percent(row["per_domain"][domain]["mean"]) for row in data["rows"]]
    return [domain, f"{data['sizes'][domain]:,.0f}", *means]


def _rows(data: Mapping[str, Any]) -> list[list[Any]]:
    """Return heads and rows of `comparison.csv`."""
    sides, own = ("mean", "half"), _own(data)
    figures = [(name, side) for name in (*METRIC_NAMES, _CALLS, *own) for side in sides]
    differences = [(name, side) for name in (*_COMPARED, *own) for side in sides]
    heads = ["method", *(f"{name}_{side}" for name, side in figures), "calls_alone"]
    heads += [f"{name}_difference_{side}" for name, side in differences]
    rows: list[list[Any]] = [[*heads, *data["domains"]]]
    for row in data["rows"]:
        means = [row[name][side] for name, side in figures]
        paired_with = row["differences"]
        against = [paired_with[n][side] if paired_with else None for n, side in differences]
        accuracies = [row["per_domain"][domain]["mean"] for domain in data["domains"]]
        rows.append([row["method"], *means, row["calls_alone"], *against, *accuracies])
    return rows
