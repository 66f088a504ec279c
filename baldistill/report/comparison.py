"""The table and figure of a comparison: methods by metrics, mean and interval over seeds."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from baldistill.report.ranks import both_ends
from baldistill.run_folder.layout import METRIC_NAMES, comparison_file
from baldistill.storage import Storage

# two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom, and the normal's
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.960
_MOST_DOMAINS = 60  # of the table of domains; comparison.csv has all
_COLOURS = (
    *("#bbbbbb", "#888888", "#bbaa33", "#cc7722", "#aa4499"),
    *("#44aa99", "#4477aa", "#117733", "#cc3311"),
)
_MARKERS = "hos^vDPX*"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a comparison.

    Attributes:
        method: Its preset.
        seed: Its seed.
        metrics: Its `metrics.json`.
        counts: Examples of each domain in its corpus.
        reused: Teacher's answers that another run had paid for.
        seconds: What it took now; about 0 for a run that was complete.
    """

    method: str
    seed: int
    metrics: dict[str, Any]
    counts: dict[str, int]
    reused: int
    seconds: float

    @property
    def calls(self) -> int:
        """Teacher calls that it paid."""
        return int(self.metrics["budget"]["total"]["calls"])


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison, ready to be shown.

    Attributes:
        data: All figures, as JSON values.
        markdown: The table.
    """

    data: dict[str, Any]
    markdown: str


def write_comparison(folder: Storage, outcomes: Sequence[Outcome]) -> Comparison:
    """Write `comparison.json`, `.md`, `.csv`, `.svg` and `.png` into a folder."""
    data = summarise(outcomes)
    table = markdown(data)
    folder.write_json(comparison_file("json"), data)
    folder.write_text(comparison_file("md"), table)
    folder.write_text(comparison_file("csv"), _csv(data))
    figure = draw(data)
    for ending in ("svg", "png"):
        image = io.BytesIO()
        figure.savefig(image, format=ending, dpi=150)
        folder.write_bytes(comparison_file(ending), image.getvalue())
    return Comparison(data, table)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Mean and 95 % interval of every figure of every method, and what the calls cost."""
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
        domains = {
            domain: interval(
                [
                    o.metrics["per_domain"][domain]["score"]
                    for o in mine
                    if domain in o.metrics["per_domain"]
                ]
            )
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
    return {
        "rows": rows,
        "domains": sorted(sizes, key=lambda name: (-sizes[name], name)),
        "sizes": sizes,
        "calls_alone": paid + sum(outcome.reused for outcome in outcomes),
        "calls_together": paid,
    }


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and half the width of its 95 % confidence interval (Student's t over seeds).

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
    """Beyond the table the excess over the normal falls as 1 / freedom: right to 0.001."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    return _NORMAL + (_T[-1] - _NORMAL) * len(_T) / freedom


def markdown(data: Mapping[str, Any]) -> str:
    """The tables as Markdown, figures in percent: methods by metrics, then domains by methods."""
    seeds = len(data["rows"][0]["seeds"])
    lines = [
        "| method | " + " | ".join(METRIC_NAMES) + " | teacher calls |",
        "|---|" + "---:|" * (len(METRIC_NAMES) + 1),
    ]
    for row in data["rows"]:
        cells = [_percent(row[name]) for name in METRIC_NAMES]
        lines.append(f"| {row['method']} | {' | '.join(cells)} | {row['calls_alone']:,.0f} |")
    lines += [
        "",
        f"Accuracy in percent, {_over(seeds)}; teacher calls of one run alone. All runs: "
        f"{data['calls_alone']:,} calls alone, {data['calls_together']:,} paid together.",
        "",
        *_domain_table(data),
        "",
    ]
    return "\n".join(lines)


def _domain_table(data: Mapping[str, Any]) -> list[str]:
    """Each domain's mean over the seeds, from head to tail, a column for each method."""
    rows = data["rows"]
    lines = [
        "| domain | examples | " + " | ".join(row["method"] for row in rows) + " |",
        "|---|" + "---:|" * (len(rows) + 1),
    ]
    for domain in both_ends(data["domains"], _MOST_DOMAINS):
        if domain is None:
            lines.append("| ⋮ |" + " |" * (len(rows) + 1))
            continue
        means = [_percent({**row["per_domain"][domain], "half": None}) for row in rows]
        name = domain.replace("|", "\\|")
        lines.append(f"| {name} | {data['sizes'][domain]:,.0f} | {' | '.join(means)} |")
    return lines


def draw(data: Mapping[str, Any]) -> Figure:
    """Accuracy per domain from head to tail, a line per method."""
    domains, rows = data["domains"], data["rows"]
    figure = Figure(figsize=(max(7.0, 0.55 * len(domains) + 3.5), 4.6), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        means = [row["per_domain"][domain]["mean"] for domain in domains]
        axes.plot(
            range(len(domains)),
            [math.nan if mean is None else 100 * mean for mean in means],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=2.2 if row["method"].startswith("baldistill") else 1.2,
            color=_COLOURS[number % len(_COLOURS)],
            label=row["method"],
        )
    names = [f"{name[:18]}\n{data['sizes'][name]:,.0f}" for name in domains]
    axes.set_xticks(range(len(domains)), names, rotation=40, ha="right", parse_math=False)
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(-2, 102)
    axes.set_xlabel("domain and its examples in the corpus, from head to tail")
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _over(seeds: int) -> str:
    return f"mean and 95 % interval over {seeds} seeds" if seeds > 1 else "of a single seed"


def _percent(figure: Mapping[str, float | None]) -> str:
    if figure["mean"] is None:
        return "-"
    text = f"{100 * figure['mean']:.1f}"
    return text if figure["half"] is None else f"{text} ± {100 * figure['half']:.1f}"


def _csv(data: Mapping[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [f"{name}_{part}" for name in METRIC_NAMES for part in ("mean", "half")]
    writer.writerow(["method", *columns, "calls_alone", *data["domains"]])
    for row in data["rows"]:
        figures = [row[name][part] for name in METRIC_NAMES for part in ("mean", "half")]
        accuracies = [row["per_domain"][domain]["mean"] for domain in data["domains"]]
        writer.writerow([row["method"], *figures, row["calls_alone"], *accuracies])
    return text.getvalue()
