"""The tables of a comparison: methods by metrics, mean and interval over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.core.longtail import by_size
from baldistill.core.metrics import against_teacher
from baldistill.report.figures.comparison import draw_comparison
from baldistill.report.formats import csv_text, markdown_table, percent
from baldistill.report.ranks import both_ends
from baldistill.run_folder.layout import METRIC_NAMES, comparison_file
from baldistill.storage import Storage

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.960  # the same quantile of the normal distribution
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
        """Teacher calls that the run paid for."""
        return int(self.metrics["budget"]["total"]["calls"])


def write_comparison(folder: Storage, data: Mapping[str, Any]) -> None:
    """Write `comparison.json`, `.md`, `.csv`, `.svg` and `.png` into a folder."""
    folder.write_json(comparison_file("json"), data)
    folder.write_text(comparison_file("md"), markdown(data))
    folder.write_text(comparison_file("csv"), csv_text(_rows(data)))
    draw_comparison(data).save(folder)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Compute `comparison.json`: mean and 95 % interval of each figure and method, and calls."""
    methods = list(dict.fromkeys(outcome.method for outcome in outcomes))
    sizes: dict[str, float] = {}
    for outcome in outcomes:
        for domain, count in outcome.counts.items():
            sizes[domain] = sizes.get(domain, 0) + count / len(outcomes)
    rows = []
    for method in methods:
        mine = [outcome for outcome in outcomes if outcome.method == method]
        figures = {
            name: interval([m for o in mine if (m := o.metrics[name]) is not None])
            for name in METRIC_NAMES
        }
        per_domain = [outcome.metrics["per_domain"] for outcome in mine]
        domains = {
            domain: interval([d[domain]["score"] for d in per_domain if domain in d])
            for domain in sizes
        }
        rows.append(
            {
                "method": method,
                "seeds": [outcome.seed for outcome in mine],
                **figures,
                "per_domain": domains,
                "calls_alone": statistics.mean(o.calls + o.reused for o in mine),
                "examples": statistics.mean(o.metrics["budget"]["annotated"] for o in mine),
            }
        )
    paid = sum(outcome.calls for outcome in outcomes)
    by_teacher = any(outcome.metrics.get("gold") == "teacher" for outcome in outcomes)
    return {
        **({"measure": against_teacher("accuracy")} if by_teacher else {}),
        "rows": rows,
        "domains": by_size(sizes),
        "sizes": sizes,
        "calls_alone": paid + sum(outcome.reused for outcome in outcomes),
        "calls_together": paid,
    }


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Compute the mean and half the width of its 95 % confidence interval (Student's t).

    The half width is None for fewer than two values, and the mean for none.
    """
    if not values:
        return {"mean": None, "half": None}
    mean = statistics.mean(values)
    if len(values) < 2:
        return {"mean": mean, "half": None}
    width = _quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": mean, "half": width}


def _quantile(freedom: int) -> float:
    """Return the 95 % quantile of t, beyond the table by a fit that is right to 0.001."""
    # The excess over the normal quantile falls as 1 / freedom.
    if freedom <= len(_T):
        return _T[freedom - 1]
    return _NORMAL + (_T[-1] - _NORMAL) * len(_T) / freedom


def markdown(data: Mapping[str, Any]) -> str:
    """Write the tables in percent: methods by metrics, then domains by methods."""
    rows = data["rows"]
    seeds = len(rows[0]["seeds"])
    over = f"mean and 95 % interval over {seeds} seeds" if seeds > 1 else "of a single seed"
    methods = markdown_table(
        ["method", *METRIC_NAMES, "teacher calls"],
        [
            [
                row["method"],
                *(percent(row[name]["mean"], row[name]["half"]) for name in METRIC_NAMES),
                f"{row['calls_alone']:,.0f}",
            ]
            for row in rows
        ],
    )
    measure = data.get("measure", "accuracy").capitalize()
    note = (
        f"{measure} in percent, {over}; teacher calls of one run alone. All runs: "
        f"{data['calls_alone']:,} calls alone, {data['calls_together']:,} paid together."
    )
    domains = markdown_table(
        ["domain", "examples", *(row["method"] for row in rows)],
        [_domain_cells(domain, data) for domain in both_ends(data["domains"], _MOST_DOMAINS)],
    )
    return "\n".join([*methods, "", note, "", *domains, ""])


def _domain_cells(domain: str | None, data: Mapping[str, Any]) -> list[str]:
    """Return name, size and each method's mean of a domain; dots for None."""
    if domain is None:
        return ["⋮", "", *("" for _ in data["rows"])]
    means = [percent(row["per_domain"][domain]["mean"]) for row in data["rows"]]
    return [domain, f"{data['sizes'][domain]:,.0f}", *means]


def _rows(data: Mapping[str, Any]) -> list[list[Any]]:
    """Return heads and rows of `comparison.csv`."""
    sides = [(name, side) for name in METRIC_NAMES for side in ("mean", "half")]
    heads = ["method", *(f"{name}_{side}" for name, side in sides), "calls_alone"]
    rows: list[list[Any]] = [[*heads, *data["domains"]]]
    for row in data["rows"]:
        accuracies = [row["per_domain"][domain]["mean"] for domain in data["domains"]]
        figures = [row[name][side] for name, side in sides]
        rows.append([row["method"], *figures, row["calls_alone"], *accuracies])
    return rows
