"""The tables of the page, their cells as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baldistill.core.longtail import by_size
from baldistill.report.ranks import both_ends
from baldistill.run_folder.layout import METRIC_NAMES, METRIC_TITLES
from baldistill.run_folder.reader import RunFolder, StageFolder, title
from baldistill.run_folder.spending import Spending

_MOST_DOMAINS = 2000


@dataclass(frozen=True, slots=True)
class Table:
    """A table on the page, its heads and cells as text.

    Attributes:
        summary: Rows that sum up, set apart at the bottom.
        words: How many of the first columns hold words; the others hold numbers.
        note: A remark below the table.
    """

    columns: list[str]
    rows: list[list[str]]
    summary: list[list[str]]
    words: int = 1
    note: str = ""


def accuracy(run: RunFolder) -> Table:
    """Show each domain's figure after each stage, largest domain first, and the whole change."""
    stages = run.evaluated
    evaluated = {name for metrics in stages.values() for name in metrics["per_domain"]}
    counts = dict.fromkeys(evaluated, 0) | run.counts
    ordered = by_size(counts)
    shown = both_ends(ordered, _MOST_DOMAINS)
    hidden = len(ordered) - sum(name is not None for name in shown)
    beside = ["teacher", "gap"] if run.teacher else []
    rows = []
    for name in shown:
        if name is None:
            rows.append(["⋮"] + [""] * (len(stages) + 4 + len(beside)))
            continue
        figures = [metrics["per_domain"].get(name, {}) for metrics in stages.values()]
        scores = [figure.get("score") for figure in figures]
        asked = next((figure["count"] for figure in reversed(figures) if figure), 0)
        part = "head" if name in run.head else "tail"
        best = run.teacher.get("per_domain", {}).get(name, {}).get("score")
        cells = [*_scores(scores), *_beside(run, scores, best)]
        rows.append([name, part, f"{counts[name]:,}", f"{asked:,}", *cells])
    own = dict.fromkeys(name for m in stages.values() for name in m.get("own", {}))
    summary = []
    for name in (*METRIC_NAMES, *(f"own/{name}" for name in own)):
        *scores, best = [_figure(name, figures) for figures in (*stages.values(), run.teacher)]
        shown_as = METRIC_TITLES.get(name, name.removeprefix("own/"))
        summary.append([shown_as, "", "", "", *_scores(scores), *_beside(run, scores, best)])
    notes = [f"{hidden:,} domains between are left out; metrics.json has them."] if hidden else []
    notes.append(
        "Between macro, where each domain counts alike, and natural, where it counts by its n of N "
        "corpus examples: entropy-weighted by -n log(n / N), dodrans-weighted by n^(3/4) "
        "(Harbecke et al. 2022)."
    )
    if beside:
        notes.append(
            "teacher: its own answers to the same questions, without the gold answer; gap: the "
            "last column of the student less that of the teacher."
        )
    return Table(
        ["domain", "part", "corpus", "asked", *stages, "change", *beside],
        rows,
        summary,
        words=2,
        note=" ".join(notes),
    )


def _beside(run: RunFolder, scores: list[Any], teacher: float | None) -> list[str]:
    """Return the cells of the teacher: its figure, and how far the last student is from it."""
    return [score(teacher), change(teacher, scores[-1])] if run.teacher else []


def stages(run: RunFolder) -> Table:
    """Show what each stage planned, annotated, trained on and achieved."""
    columns = ["stage", "macro", "micro", "budget", *_SOURCES, "dropped"]
    columns += ["rejected", "trained on", "steps", "loss", "seconds"]
    rows = [_stage_row(stage) for stage in run.stages]
    filled = [i for i in range(len(columns)) if i == 0 or any(row[i] not in "-0" for row in rows)]
    return Table([columns[i] for i in filled], [[row[i] for i in filled] for row in rows], [])


def _stage_row(stage: StageFolder) -> list[str]:
    source, done, trained = stage.by_source, stage.annotation, stage.training
    return [
        title(stage.stage),
        score(stage.metrics.get("macro")),
        score(stage.metrics.get("micro")),
        _count(stage.plan.get("budget")),
        *(_count(source.get(name, 0) if done else None) for name in _SOURCES),
        _count(done.get("dropped")),
        _count(sum(done["rejected"].values()) if done else None),
        _count(trained.get("num_examples")),
        _count(trained.get("num_steps")),
        score(trained.get("loss")),
        f"{sum(stage.seconds.values()):,.1f}",
    ]


_SOURCES = ("real", "further", "synthetic", "repeated")


def teacher(spent: Spending) -> Table:
    """Show what the teacher was asked for, by purpose and by teacher."""
    columns = ["purpose", "calls", "reused", "rejected", "units of B", "prompt tokens"]
    columns += ["completion tokens", *(["cost"] if spent.priced else [])]
    sides = dict(spent.summary.by_purpose)
    if len(spent.teachers) > 1:
        sides |= {f"teacher {name}": figures for name, figures in spent.by_teacher.items()}
    rows = [
        [
            purpose,
            _count(figures.calls),
            _count(figures.reused),
            _count(sum(figures.rejected.values())),
            _count(figures.units),
            _count(figures.prompt_tokens),
            _count(figures.completion_tokens),
            *([f"{figures.cost:,.4f}"] if spent.priced else []),
        ]
        for purpose, figures in [*sides.items(), ("all", spent.total)]
    ]
    note = "The cost is in the currency of teacher.prices." if spent.priced else ""
    return Table(columns, rows[:-1], rows[-1:], note=note)


def benchmarks(run: RunFolder) -> Table | None:
    """Show public benchmarks before and after; None where none was asked."""
    if not run.benchmarks:
        return None
    rows = [
        [
            row["task"],
            row["metric"],
            row["verdict"] or "",
            _count(row["num_examples"]),
            _count(row["num_fewshot"]),
            *(score(row[name]) for name in ("before", "before_stderr", "after", "after_stderr")),
            change(row["before"], row["after"]),
            score(row["difference_stderr"]),
        ]
        for row in run.benchmarks
    ]
    stderr = "±"
    columns = ["benchmark", "metric", "verdict", "examples", "shots"]
    columns += ["before", stderr, "after", stderr, "change", stderr]
    note = (
        f"Public benchmarks by lm-eval {run.final['benchmarks']['lm_eval']}: the base student "
        "before the distillation, the last student after it. ± is a standard error; that of the "
        "change goes by the differences of the single examples where it can. Forgotten and gained: "
        "the change is over two of them."
    )
    return Table(columns, rows, [], words=3, note=note)


def score(value: float | None) -> str:
    """Write a figure in [0, 1], or a loss."""
    return "-" if value is None else f"{value:.3f}"


def change(before: float | None, after: float | None) -> str:
    """Write a difference with its sign."""
    return "-" if before is None or after is None else f"{after - before:+.3f}"


def _figure(name: str, metrics: Mapping[str, Any]) -> float | None:
    """Return a figure, or one of the user's own, which may have the name of another."""
    own = name.startswith("own/")
    found = metrics.get("own", {}).get(name.removeprefix("own/")) if own else metrics.get(name)
    return None if found is None else float(found)


def _scores(values: list[Any]) -> list[str]:
    return [*(score(value) for value in values), change(values[0], values[-1])]


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
