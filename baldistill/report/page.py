"""Write `report/index.html`: a run on one page, from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from baldistill.core.corpus_notes import corpus_notes
from baldistill.core.majority import DEFAULT_VOTES, quorum
from baldistill.report import examples, tables
from baldistill.report.figures import draw_figures
from baldistill.report.figures.style import readable
from baldistill.run_folder import layout
from baldistill.run_folder.reader import RunFolder, read_run, title
from baldistill.run_folder.spending import Spending, read_spending
from baldistill.visible import visible

_LONGEST_TEXT = 800
_MOST_NAMES = 12


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the top of the page; `detail` is what to compare the figure with."""

    name: str
    value: str
    detail: str


def report(run: str | Path) -> str:
    """Write the page and the pictures of a run, finished or not, into its folder.

    The figures stand beside the page as SVG and PNG.

    Returns:
        Path or URI of the page.

    Raises:
        UserError: It is not a run folder.
    """
    folder = read_run(run)
    spent = read_spending(folder)
    figures = draw_figures(folder, spent)
    for figure in figures:
        figure.save(folder.storage.sub(layout.REPORT))
    answers, answers_note = examples.responses(folder)
    page = _template().render(
        run=folder,
        status=_status(folder),
        notes=_notes(folder),
        scores=_scores(folder),
        costs=_costs(folder, spent),
        figures=[(figure, Markup(figure.svg)) for figure in figures],  # escaped by matplotlib
        accuracy=tables.accuracy(folder) if folder.evaluated else None,
        stages=tables.stages(folder) if folder.stages else None,
        benchmarks=tables.benchmarks(folder),
        teacher=tables.teacher(spent) if spent else None,
        annotated=examples.annotated(folder),
        rejected=examples.rejected(folder),
        answers=answers,
        answers_note=answers_note,
        quarantine=examples.quarantine(folder),
    )
    folder.storage.write_text(layout.REPORT_PAGE, page)
    return folder.storage.uri_of(layout.REPORT_PAGE)


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("baldistill.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["readable"] = readable
    environment.filters["cut"] = _cut
    return environment.get_template("page.html.j2")


def _cut(text: str) -> str:
    """Cut a text of many lines to a length that the page can hold."""
    text = readable(text)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} [...]"


def _status(run: RunFolder) -> str:
    """Say what is missing; nothing for a finished run."""
    if run.finished:
        return ""
    again = f"Run the same command with --run-dir {run.storage.uri} to go on."
    if not run.stages:
        done = "its corpus is ready" if run.corpus else "its corpus is not ready yet"
        return f"This run is not finished: {done}. {again}"
    last = run.stages[-1]
    steps = ", ".join(last.seconds)
    of_all = f" of {run.num_stages}" if last.stage else ""
    return f"This run is not finished: {title(last.stage)}{of_all} has done {steps}. {again}"


def _what_counted(run: RunFolder) -> list[str]:
    """Say which answers of the teacher, and of the student, counted and who decided it."""
    notes = []
    accept = run.setting("rationale.accept", "gold")
    if accept == "majority":
        votes = run.setting("rationale.votes", DEFAULT_VOTES)
        notes.append(
            "No gold answer of a training row was used: the student learns what the teacher "
            f"concluded in {quorum(votes)} of {votes} votes. Rows without a majority were rejected."
        )
    elif accept == "judge":
        notes.append(
            "No gold answer of a training row was used: the student learns what the teacher "
            "concluded where the judge accepted it."
        )
    elif accept == "any":
        notes.append(
            "No gold answer of a training row was used: the student learns what the teacher "
            "concluded, unchecked."
        )
    if run.setting("rationale.keep", "answer") == "thoughts":
        notes.append(
            "The student learns the teacher's thoughts (rationale.keep). Answers whose thoughts "
            "were cut off at max_new_tokens, or that had none, were rejected."
        )
    if judge := run.setting("judge", None):
        low, high = judge.get("scale", (1, 5))
        notes.append(
            f"A judge read answers that are texts by {visible(str(judge.get('rubric')))} and "
            f"accepted them from {judge.get('accept', 4)} on, of {low} to {high}: figures of such "
            "domains are the share of the student's answers that it accepts. How far it agrees "
            "with people, `baldistill judge check` says."
        )
    return notes


def _notes(run: RunFolder) -> list[str]:
    """Collect what a person should know before reading the figures."""
    notes = list(run.corpus.get("warnings", []))
    several = bool(run.corpus.get("several_answers"))
    about = corpus_notes(run.setting("data", {}), several_answers=several)
    notes += [f"{note[0].upper()}{note[1:]}." for note in about]
    if run.setting("data.domains", None):
        notes.append("Macro is the mean over the domains that data.domains made.")
    if run.finished and run.num_stages == 0:
        notes.append("budget.total is 0: nothing was annotated, only the base student evaluated.")
    if run.against_teacher:
        notes.append(
            "The evaluation set has no gold answers: figures say how often the student agrees with "
            "its teacher, not how often it is right. Questions without a majority of the teacher's "
            "answers are left out."
        )
    notes += _what_counted(run)
    for stage in run.distilled:
        name = title(stage.stage).capitalize()
        if dry := stage.annotation.get("dry"):
            more = f" and {len(dry) - _MOST_NAMES:,} more" if len(dry) > _MOST_NAMES else ""
            names = ", ".join(readable(name, 40) for name in dry[:_MOST_NAMES])
            notes.append(f"{name} could not fill the quotas of {names}{more} (dry).")
        if repaired := stage.annotation.get("repaired"):
            notes.append(f"{name}: {repaired:,} new examples were malformed JSON, and repaired.")
        if stage.annotation.get("refused"):
            notes.append(f"{name} reached the cap on {stage.annotation['refused']}.")
        for key, what in (("truncated", "cut"), ("dropped", "left out")):
            if stage.training.get(key):
                notes.append(
                    f"{name}: {stage.training[key]:,} training "
                    f"examples were {what} to fit student.max_length."
                )
    return notes


def _scores(run: RunFolder) -> list[Tile]:
    """Compare the last student with the first that was evaluated."""
    if not run.evaluated:
        return []
    stages = list(run.evaluated.items())
    (first, before), (last, after) = stages[0], stages[-1]
    return [
        Tile(
            name,
            tables.score(after[name]),
            f"{first} {tables.score(before.get(name))}, "
            f"{tables.change(before.get(name), after[name])}"
            if first != last
            else last,
        )
        for name in layout.TABLE_METRICS
        if after.get(name) is not None
    ]


def _costs(run: RunFolder, spent: Spending | None) -> list[Tile]:
    share = f" ({run.annotated / run.budget:.0%})" if run.budget else ""
    tiles = [Tile("annotated examples", f"{run.annotated:,}", f"of {run.budget:,}{share}")]
    if spent is not None:
        total = spent.total
        tokens = total.prompt_tokens + total.completion_tokens
        detail = f"{tokens:,} tokens"
        detail += f", {total.reused:,} answers reused" if total.reused else ""
        detail += f", cost {total.cost:,.2f}" if spent.priced else ""
        tiles.append(Tile("teacher calls", f"{total.calls:,}", detail))
    begun, of_all = len(run.distilled), run.num_stages
    stages = f"{begun} of {of_all} stages begun" if begun < of_all else f"{of_all} stages"
    tiles.append(Tile("time in steps", _duration(run.seconds), stages))
    return tiles


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
