"""Draw the figures of the page, in order, each with its title and how to read it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from matplotlib.figure import Figure

from baldistill.report.figures import accuracy, benchmarks, costs, domains
from baldistill.report.figures.style import Picture, styled
from baldistill.report.ranks import MOST_ROWS
from baldistill.run_folder.reader import RunFolder
from baldistill.run_folder.spending import Spending


def draw_figures(run: RunFolder, spent: Spending | None) -> list[Picture]:
    """Draw every figure that the run has data for."""
    with styled():
        figures = itertools.chain(
            _accuracy(run), _benchmarks(run), _domains(run), _costs(run, spent)
        )
        return [Picture.of(*figure) for figure in figures]


def _accuracy(run: RunFolder) -> Iterator[tuple[str, str, str, Figure]]:
    if not run.evaluated:
        return
    yield (
        "accuracy-by-stage",
        _title(f"{run.measure} after each stage"),
        "Macro is the mean over domains, micro over evaluation questions, natural over domains "
        "weighted by their size in the corpus; balanced distillation should lift the tail and "
        "keep the head.",
        accuracy.by_stage(run),
    )
    titles = list(run.evaluated)
    many = len(run.counts) > MOST_ROWS
    gained = "base" in titles and len(titles) > 1
    yield (
        "accuracy-by-domain",
        _title(f"{run.measure} from head to tail"),
        "Domains from the largest to the smallest, the head shaded."
        + (" The gain is the distance of the darkest line from the dashed one." * gained)
        + (" With this many domains, neighbours in size are averaged." if many else "")
        + (" Not every stage is drawn; the table below has them all." if len(titles) > 6 else ""),
        accuracy.by_domain(run),
    )


def _title(text: str) -> str:
    """Make the first letter a capital; `capitalize` would make "word F1" "Word f1"."""
    return text[:1].upper() + text[1:]


def _benchmarks(run: RunFolder) -> Iterator[tuple[str, str, str, Figure]]:
    if benchmarks.shown(run):
        yield (
            "benchmarks",
            "What was forgotten",
            "Public benchmarks before the distillation (hollow) and after it (filled), each with "
            "its standard error; of each task the first metric between 0 and 1. Orange: forgotten, "
            "green: gained, grey: within noise, by the standard error of the change.",
            benchmarks.before_and_after(run),
        )


def _domains(run: RunFolder) -> Iterator[tuple[str, str, str, Figure]]:
    if not run.counts:
        return
    yield (
        "domain-sizes",
        "Domain sizes",
        "Examples of each domain in the training corpus on a log scale: each tick with a "
        "number is ten times the one before.",
        domains.sizes(run),
    )
    if not any(stage.plan for stage in run.distilled):
        return
    half = MOST_ROWS // 2
    ends = f" Of {len(run.counts):,} domains, the {half} largest and {half} smallest are shown."
    yield (
        "quotas",
        "Quotas, and what was annotated",
        "Left: examples that each stage was to annotate in each domain, darker for more; an "
        "orange corner marks a quota over what the corpus still had, so that new examples are "
        "needed. Right: what was annotated, against the sum of the quotas."
        + (ends if len(run.counts) > MOST_ROWS else ""),
        domains.quotas(run),
    )
    yield (
        "annotated",
        "Annotated examples by source",
        "Each stage's examples: real ones that the teacher explained, synthetic ones that it "
        "wrote, repeated ones; white within the dashes is budget that was not used.",
        domains.annotated(run),
    )


def _costs(run: RunFolder, spent: Spending | None) -> Iterator[tuple[str, str, str, Figure]]:
    if spent is not None and spent.by_stage:
        yield (
            "budget",
            "Budget spent",
            "The budget counts accepted examples; a rejected answer gives its unit back, but its "
            "call and tokens stay paid for.",
            costs.spending(run, spent),
        )
    if any(stage.training.get("losses") for stage in run.distilled):
        yield (
            "loss",
            "Training loss",
            "Mean loss on the response tokens, the stages one after the other; a stage that ends "
            "while its line still falls would gain from more epochs.",
            costs.losses(run),
        )
    if run.seconds > 0:
        yield (
            "time",
            "Where the time went",
            "Time of each committed step; what a crash or a pause cost is not in it.",
            costs.times(run),
        )
