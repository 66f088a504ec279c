"""The tables of a sweep: trials by score, what they cost alone and together, and the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.core.longtail import by_size
from baldistill.core.metrics import against_teacher
from baldistill.report.figures.sweep import draw_sweep, goal, shown
from baldistill.report.formats import csv_text, markdown_table, percent
from baldistill.run_folder.layout import METRIC_NAMES, TABLE_METRICS, sweep_file
from baldistill.storage import Storage
from baldistill.visible import visible

_ORDER = ("done", "stopped", "running", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """A trial of a sweep.

    Attributes:
        name: The name of its run folder.
        values: The dotted config keys that it set.
        standing, reason: As in `tune.record.TrialRecord`.
        stages: K.
        history: Number and metrics of each stage that was evaluated.
        scores: The sweep's metrics after the last of these stages; empty without one.
        calls: Teacher calls that the trial paid for.
        reused: Answers of the teacher that another trial had paid for.
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
        """Return the mean of the sweep's metrics, by which trials are compared."""
        return sum(self.scores) / len(self.scores) if self.scores else float("-inf")


def write_tables(folder: Storage, data: Mapping[str, Any]) -> list[str]:
    """Write `sweep.json`, `.md`, `.csv` and the figures; return the names of the files."""
    folder.write_json(sweep_file("json"), data)
    folder.write_text(sweep_file("md"), markdown(data))
    folder.write_text(sweep_file("csv"), csv_text(_rows(data)))
    files = [sweep_file(ending) for ending in ("json", "md", "csv")]
    if any(trial["score"] is not None for trial in data["trials"]):
        for picture in draw_sweep(data):
            files += picture.save(folder)
    return files


def summarise(
    trials: Sequence[SweepTrial], metric: Sequence[str], *, by_teacher: bool = False
) -> dict[str, Any]:
    """Compute the content of `sweep.json`, the best trial first.

    With `by_teacher`, the teacher's answers stood in for the gold ones of the evaluation set.
    """
    ranked = sorted(trials, key=lambda t: (_ORDER.index(t.standing), -t.score, t.name))
    done = [trial for trial in ranked if trial.standing == "done"]
    sizes = next((trial.counts for trial in ranked if trial.counts), {})
    alone = sum(trial.calls + trial.reused for trial in trials)
    paid = sum(trial.calls for trial in trials)
    return {
        "metric": list(metric),
        **({"measure": against_teacher("accuracy")} if by_teacher else {}),
        "best": done[0].name if done else None,
        "front": pareto_front({trial.name: trial.scores for trial in done}),
        "trials": [_trial(trial) for trial in ranked],
        "domains": by_size(sizes),
        "sizes": sizes,
        "calls_alone": alone,
        "calls_paid": paid,
        "share_reused": (alone - paid) / alone if alone else 0.0,
    }


def pareto_front(scores: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the trials that no other beats in one metric without losing in another."""

    def beaten(mine: Sequence[float]) -> bool:
        return any(
            tuple(other) != tuple(mine) and all(o >= m for o, m in zip(other, mine, strict=True))
            for other in scores.values()
        )

    return [name for name, mine in scores.items() if not beaten(mine)]


def markdown(data: Mapping[str, Any]) -> str:
    """Write the table with accuracies in percent, and what the calls cost."""
    trials, metric = data["trials"], data["metric"]
    keys = _parameters(trials)
    names = [*TABLE_METRICS, *(name for name in metric if name not in TABLE_METRICS)]
    rows = [
        [
            f"**{trial['name']}**" if trial["name"] == data["best"] else trial["name"],
            *(shown(trial["values"].get(key)) for key in keys),
            *(percent(trial["metrics"].get(name)) for name in names),
            f"{trial['stage']}/{trial['stages']}",
            f"{trial['calls_alone']:,}",
            f"{trial['calls_paid']:,}",
            trial["standing"],
        ]
        for trial in trials
    ]
    heads = ["trial", *keys, *names, "stages", "calls alone", "paid", "standing"]
    front = [f"Pareto front: {', '.join(data['front']) or 'empty'}."] if len(metric) == 2 else []
    reasons = [
        f"- {t['name']} {t['standing']}: {visible(t['reason'])}" for t in trials if t["reason"]
    ]
    measure = data.get("measure", "accuracy").capitalize()
    lines = [
        *markdown_table(heads, rows, numbers=slice(1 + len(keys), -1)),
        "",
        f"{measure} in percent after a trial's last stage, on one seed; the best trial is the one "
        f"with the highest {goal(metric)} of those that ran to the end.",
        *front,
        f"Teacher calls: {data['calls_alone']:,} if every trial had run alone, "
        f"{data['calls_paid']:,} paid together ({data['share_reused']:.0%} served from the store).",
        *(["", *reasons] if reasons else []),
    ]
    return "\n".join(lines) + "\n"


def _trial(trial: SweepTrial) -> dict[str, Any]:
    """Return a trial as `sweep.json` shows it."""
    stage, last = trial.history[-1] if trial.history else (0, None)
    domains = {d: row["score"] for d, row in last["per_domain"].items()} if last else {}
    metrics = {name: last.get(name) for name in METRIC_NAMES} if last else {}
    metrics |= {f"own/{name}": value for name, value in last.get("own", {}).items()} if last else {}
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
            {"stage": number, **{name: figures.get(name) for name in METRIC_NAMES}}
            for number, figures in trial.history
        ],
        "calls_alone": trial.calls + trial.reused,
        "calls_paid": trial.calls,
        "seconds": round(trial.seconds, 1),
    }


def _parameters(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys that any trial sets, in their order."""
    return list(dict.fromkeys(key for trial in trials for key in trial["values"]))


def _rows(data: Mapping[str, Any]) -> list[list[Any]]:
    """Return heads and rows of `sweep.csv`."""
    keys, domains = _parameters(data["trials"]), data["domains"]
    figures = ["score", "stage", "stages", "calls_alone", "calls_paid", "seconds"]
    heads = ["trial", *keys, *METRIC_NAMES, *figures, *domains, "standing", "reason"]
    rows = [
        [
            trial["name"],
            *(shown(trial["values"].get(key)) for key in keys),
            *(trial["metrics"].get(name) for name in METRIC_NAMES),
            *(trial[name] for name in figures),
            *(trial["per_domain"].get(domain) for domain in domains),
            trial["standing"],
            trial["reason"],
        ]
        for trial in data["trials"]
    ]
    return [heads, *rows]
