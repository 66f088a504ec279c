"""Write `browse/index.html`: every row of a run on a page that searches, filters and sorts.

The rows stand in script files beside the page, because a page that is opened from a disk may load
scripts but no data. So the page needs neither a server nor a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from baldistill.core.metrics import against_teacher
from baldistill.errors import UserError
from baldistill.report.examples import whole_question
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.reader import RunFolder, StageFolder, read_run, title
from baldistill.storage import Storage
from baldistill.visible import visible, visible_lines

Kind: TypeAlias = Literal["learnt from", "rejected", "evaluated"]
Row: TypeAlias = list[Any]
"""Kind, stage, domain, verdict, id, question, gold answer, text, choices, and the answers of an
evaluated row: of each stage its title, the response, the answer read in it, and the score."""

_ROWS_IN_FILE = 5_000
_BATCH = 1_024
_BINARY = ("accuracy", against_teacher("accuracy"), "share accepted")


@dataclass(frozen=True, slots=True)
class Browser:
    """A page that was written, and how many rows it shows."""

    page: str
    num_rows: int


@dataclass(frozen=True, slots=True)
class _Words:
    """Words for how the answers to a question went: in the last stage, and beside earlier ones."""

    good: str
    bad: str
    became_good: str
    became_bad: str


def browse(run: str | Path, *, out: str | Path | None = None) -> Browser:
    """Write the page, with what the student learnt from, what was rejected, and its answers.

    Args:
        run: A run folder: path or URI. The run may still be at work.
        out: Folder or URI; by default `browse` in the run folder.

    Raises:
        UserError: There is no such run, nothing to show yet, or the folder holds something else.
    """
    folder = read_run(run)
    target = Storage.open(out) if out else folder.storage.sub(layout.BROWSE)
    _check_is_ours(target)
    for name in target.list():
        target.delete(name)
    names: list[str] = []
    rows, total = _rows(folder), 0
    while part := list(islice(rows, _ROWS_IN_FILE)):
        names.append(_file(len(names)))
        target.write_text(names[-1], f"rows({_as_script(part)});\n")
        total += len(part)
    if not total:
        raise UserError(f"{folder.storage.uri} has no rows to show yet: no stage has annotated")
    environment = Environment(
        loader=PackageLoader("baldistill.report", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("browse.html.j2").render(
        name=visible(folder.name),
        files=names,
        is_binary=folder.measure in _BINARY,
        words=_words(folder),
        gold="the teacher's answer" if folder.against_teacher else "gold answer",
    )
    target.write_text(layout.BROWSE_PAGE, page)
    return Browser(target.uri_of(layout.BROWSE_PAGE), total)


def _file(number: int) -> str:
    return f"rows-{number:04d}.js"


def _check_is_ours(target: Storage) -> None:
    """Refuse a folder with anything but an earlier page: writing replaces all that it holds."""
    found = target.entries()
    ours = {layout.BROWSE_PAGE, *map(_file, range(len(found)))}
    if others := sorted(found - ours):
        raise UserError(
            f"{target.uri} holds something else ({others[0]}), which would be replaced: use an "
            "empty folder"
        )


def _as_script(rows: list[Row]) -> str:
    """Return rows as JSON that is also a script: ASCII, and it cannot end the script's element."""
    return json.dumps(rows, separators=(",", ":")).replace("<", "\\u003c")


def _rows(folder: RunFolder) -> Iterator[Row]:
    for stage in folder.distilled:
        if stage.annotation:
            yield from _annotated(folder.storage, stage)
            yield from _rejected(folder.storage, stage)
    yield from _evaluated(folder)


def _batches(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(_BATCH):
        yield from batch.to_pylist()


def _row(
    kind: Kind,
    stage: int,
    verdict: str,
    example: dict[str, Any],
    text: str | None,
    answers: list[Row] | None = None,
) -> Row:
    question, answer = example.get("question"), example.get("answer")
    if question is not None:
        question = whole_question(example)
    choices = example.get("choices")
    return [
        kind,
        stage,
        visible(example["domain"]),
        visible(verdict),
        visible(example.get("example_id") or ""),
        _shown(question),
        _shown(answer),
        _shown(text),
        [visible_lines(choice) for choice in choices] if choices else None,
        answers,
    ]


def _shown(text: str | None) -> str | None:
    return None if text is None else visible_lines(text)


def _annotated(storage: Storage, stage: StageFolder) -> Iterator[Row]:
    """Yield what the student learnt from; the verdict is where the row comes from."""
    for row in _batches(storage.read_table(StageLayout(stage.stage).annotated)):
        verdict = row["source"] + (", not verified" if row["verified"] is False else "")
        verdict += ", repaired" if row.get("repaired") else ""
        yield _row("learnt from", stage.stage, verdict, row, row["rationale"])


def _rejected(storage: Storage, stage: StageFolder) -> Iterator[Row]:
    """Yield answers of teachers that were not accepted, with the questions of real rows."""
    names = StageLayout(stage.stage)
    table = storage.read_table(names.rejected)
    if not len(table):
        return
    wanted = set(table["example_id"].to_pylist())
    known: dict[str, dict[str, Any]] = {}
    for name in (names.selected, names.annotated):
        if storage.exists(name):
            columns = ["example_id", "question", "answer", "choices", "context"]
            examples = storage.read_table(name)
            held = [column for column in columns if column in examples.column_names]
            for row in _batches(examples.select(held)):
                if row["example_id"] in wanted:
                    known[row["example_id"]] = row
    for row in _batches(table):
        example = known.get(row["example_id"], {}) | {"domain": row["domain"]}
        verdict = f"{row['purpose']}: {row['reason']}"
        yield _row("rejected", stage.stage, verdict, example, row["text"])


def _evaluated(folder: RunFolder) -> Iterator[Row]:
    """Yield the evaluation set, with the answers of all stages; the last one decides."""
    stages = [stage.stage for stage in folder.stages if stage.metrics]
    answers: dict[str, list[Row]] = {}
    for stage in stages:
        for row in _answered(folder.storage, stage):
            told = [title(stage), _shown(row["response"]), _shown(row["prediction"]), row["score"]]
            answers.setdefault(row["example_id"], []).append(told)
    if not stages:
        return
    for row in _answered(folder.storage, stages[-1]):
        all_stages = answers[row["example_id"]]
        scores = [answer[3] for answer in all_stages]
        # without a verdict of the judge there is no score; its reason is a cap's
        verdict = row["verdict"] if row["score"] is None else _verdict(scores, _words(folder))
        yield _row("evaluated", stages[-1], verdict, row, None, all_stages)


def _answered(storage: Storage, stage: int) -> Iterator[dict[str, Any]]:
    """Yield a stage's answers; those that a cap left without a verdict have no score."""
    names = StageLayout(stage)
    yield from _batches(storage.read_table(names.responses))
    if storage.exists(names.unjudged):
        for row in _batches(storage.read_table(names.unjudged)):
            yield row | {"score": None}


def _words(folder: RunFolder) -> _Words:
    """Return the words of the report: agreement with a teacher is not being right."""
    if folder.against_teacher:
        return _Words("agrees", "differs", "came to agree", "came to differ")
    return _Words("right", "wrong", "became right", "became wrong")


def _verdict(scores: list[float | None], words: _Words) -> str:
    """Return how the answers of the stages went, in words to filter by."""
    right = [score >= 0.5 for score in scores if score is not None]
    if right[-1]:
        return words.good if all(right) or len(right) == 1 else words.became_good
    return words.became_bad if any(right) else words.bad
