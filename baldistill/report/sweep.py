"""The table of a sweep: trials by score, what they cost alone and together, and the best."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.report.figures.style import styled, to_png, to_svg
from baldistill.report.figures.sweep import (
    draw_domains,
    draw_front,
    draw_parameters,
    goal,
    shown,
)
from baldistill.run_folder.layout import METRIC_NAMES, sweep_file
from baldistill.storage import Storage

_ORDER = ("done", "stopped", "running", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """A trial of a sweep.

    Attributes:
        name: Its run folder's.
        values: The dotted config keys that it set.
        standing: `done`, `stopped`, `failed`, `skipped` or `running`.
        reason: Why it was stopped, failed or skipped.
        stages: K.
        history: (stage, metrics) after each stage that it evaluated.
        scores: The sweep's metrics after the last of them; empty without one.
        calls: Teacher calls that it paid.
        reused: Answers that it took from the other trials.
        seconds: How long it ran.
        counts: Examples of each domain in its corpus; empty where it read none.
    """

    name: str
    values: dict[str, Any]
    standing: str
    reason: str
    stages: int
    history: tuple[tuple[int, dict[str, Any]], ...]
    scores: tuple[float, ...]
    calls: int
    reused: int
    seconds: float
    counts: dict[str, int]

    @property
    def score(self) -> float:
        """What trials are compared by: the mean of the sweep's metrics."""
        return sum(self.scores) / len(self.scores) if self.scores else float("-inf")


def write_tables(
    folder: Storage, trials: Sequence[SweepTrial], metric: Sequence[str]
) -> tuple[dict[str, Any], str, list[str]]:
    """Write `sweep.json`, `.csv`, `.md` and the figures.

    Args:
        folder: Of the sweep.
        trials: In the order of the search.
        metric: Names of the sweep's metrics.

    Returns:
        The data, the table as Markdown, and the names of the files.
    """
    data = summarise(trials, metric)
    table = markdown(data)
    folder.write_json(sweep_file("json"), data)
    folder.write_text(sweep_file("md"), table)
    folder.write_text(sweep_file("csv"), _csv(data))
    files = [sweep_file(ending) for ending in ("json", "md", "csv")]
    if not any(trial["score"] is not None for trial in data["trials"]):
        return data, table, files
    with styled():
        figures = {
            "sweep-parameters": (draw_parameters(data), "score against each parameter"),
            "sweep-domains": (draw_domains(data), "accuracy per domain of the best trials"),
        }
        if len(metric) == 2:
            figures["sweep-front"] = (draw_front(data), "the trade-off of the two metrics")
        for name, (figure, description) in figures.items():
            folder.write_bytes(f"{name}.png", to_png(figure))
            folder.write_text(f"{name}.svg", to_svg(figure, name, description))
            files += [f"{name}.png", f"{name}.svg"]
    return data, table, files


def summarise(trials: Sequence[SweepTrial], metric: Sequence[str]) -> dict[str, Any]:
    """All figures of a sweep as JSON values, the best trial first."""
    ranked = sorted(trials, key=lambda t: (_ORDER.index(t.standing), -t.score, t.name))
    done = [trial for trial in ranked if trial.standing == "done"]
    sizes = next((trial.counts for trial in ranked if trial.counts), {})
    alone = sum(trial.calls + trial.reused for trial in trials)
    paid = sum(trial.calls for trial in trials)
    return {
        "metric": list(metric),
        "best": done[0].name if done else None,
        "front": pareto_front({trial.name: trial.scores for trial in done}),
        "trials": [_row(trial) for trial in ranked],
        "domains": sorted(sizes, key=lambda name: (-sizes[name], name)),
        "sizes": sizes,
        "calls_alone": alone,
        "calls_paid": paid,
        "share_reused": (alone - paid) / alone if alone else 0.0,
    }


def pareto_front(scores: Mapping[str, Sequence[float]]) -> list[str]:
    """The trials that no other beats in one metric without losing in another."""

    def beaten(mine: Sequence[float]) -> bool:
        return any(
            tuple(other) != tuple(mine) and all(o >= m for o, m in zip(other, mine, strict=True))
            for other in scores.values()
        )

    return [name for name, mine in scores.items() if not beaten(mine)]


def markdown(data: Mapping[str, Any]) -> str:
    """The table as Markdown, accuracies in percent."""
    keys = list(dict.fromkeys(key for trial in data["trials"] for key in trial["values"]))
    extra = [name for name in data["metric"] if name not in METRIC_NAMES]
    titles = ["trial", *keys, *METRIC_NAMES, *extra, "stages", "calls alone", "paid", "standing"]
    numbers = len(titles) - len(keys) - 2
    lines = [
        f"| {' | '.join(titles)} |",
        "|---|" + "---|" * len(keys) + "---:|" * numbers + "---|",
    ]
    for trial in data["trials"]:
        name = f"**{trial['name']}**" if trial["name"] == data["best"] else trial["name"]
        cells = [
            name,
            *(_cell(shown(trial["values"].get(key))) for key in keys),
            *(_percent(trial["metrics"].get(metric)) for metric in [*METRIC_NAMES, *extra]),
            f"{trial['stage']}/{trial['stages']}",
            f"{trial['calls_alone']:,}",
            f"{trial['calls_paid']:,}",
            trial["standing"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Accuracy in percent after a trial's last stage, on one seed; the best trial is"]
    lines[-1] += f" the one with the highest {goal(data['metric'])} of those that ran to the end."
    if len(data["metric"]) == 2:
        lines.append(f"Pareto front: {', '.join(data['front']) or 'empty'}.")
    lines.append(
        f"Teacher calls: {data['calls_alone']:,} if every trial had run alone, "
        f"{data['calls_paid']:,} paid together ({data['share_reused']:.0%} served from the store)."
    )
    reasons = [t for t in data["trials"] if t["reason"]]
    if reasons:
        lines += ["", *(f"- {t['name']} {t['standing']}: {t['reason']}" for t in reasons)]
    return "\n".join(lines) + "\n"


def _row(trial: SweepTrial) -> dict[str, Any]:
    stage, last = trial.history[-1] if trial.history else (0, None)
    domains = {d: row["score"] for d, row in last["per_domain"].items()} if last else {}
    metrics = {name: last[name] for name in METRIC_NAMES} if last else {}
    return {
        "name": trial.name,
        "values": trial.values,
        "standing": trial.standing,
        "reason": trial.reason,
        "score": trial.score if trial.scores else None,
        "scores": list(trial.scores),
        "stage": stage,
        "stages": trial.stages,
        "metrics": metrics | {f"domain/{name}": score for name, score in domains.items()},
        "per_domain": domains,
        "history": [
            {"stage": number, **{name: figures[name] for name in METRIC_NAMES}}
            for number, figures in trial.history
        ],
        "calls_alone": trial.calls + trial.reused,
        "calls_paid": trial.calls,
        "seconds": round(trial.seconds, 1),
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _csv(data: Mapping[str, Any]) -> str:
    keys = list(dict.fromkeys(key for trial in data["trials"] for key in trial["values"]))
    figures = ["score", "stage", "stages", "calls_alone", "calls_paid", "seconds"]
    text = io.StringIO()
    writer = csv.writer(text)
    domains = data["domains"]
    writer.writerow(["trial", *keys, *METRIC_NAMES, *figures, *domains, "standing", "reason"])
    for trial in data["trials"]:
        writer.writerow(
            [
                trial["name"],
                *(shown(trial["values"].get(key)) for key in keys),
                *(trial["metrics"].get(name) for name in METRIC_NAMES),
                *(trial[name] for name in figures),
                *(trial["per_domain"].get(domain) for domain in domains),
                trial["standing"],
                trial["reason"],
            ]
        )
    return text.getvalue()
