"""Choose rows for the page: what the teacher wrote, what was rejected, what the student answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from baldistill.equality import NOT_COMPARED
from baldistill.report.ranks import spread
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.reader import RunFolder, title

_MOST_QUARANTINED_READ = 200_000
_MOST_REASONS = 6


@dataclass(frozen=True, slots=True)
class Example:
    """A row as the page shows it.

    Attributes:
        tag: Where the row comes from, or why it was rejected, in a word.
        good: Whether the tag is good news.
        question: None where the tables do not have it.
        answer: The gold answer; None where the tables do not have it.
        text: What the model wrote.
        note: A remark.
        whose: Whose answer it is.
    """

    tag: str
    good: bool
    domain: str
    question: str | None
    answer: str | None
    text: str | None
    note: str = ""
    whose: str = "gold"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Rows that were left out of the corpus: their number by reason, and some of the rows."""

    counts: dict[str, int]
    rows: list[dict[str, Any]] = field(default_factory=list)


def annotated(run: RunFolder, most: int = 3) -> list[Example]:
    """Choose examples of each source from the last stage that was annotated."""
    stage = max((s.stage for s in run.distilled if s.annotation), default=None)
    if stage is None:
        return []
    table = run.storage.read_table(StageLayout(stage).annotated)
    uses_gold = run.setting("rationale.accept", "gold") == "gold"
    found = []
    for source in ("real", "further", "synthetic", "repeated"):
        whose = "gold" if uses_gold and source != "synthetic" else "the teacher's answer"
        for row in _spread_rows(table.filter(pc.equal(table["source"], source)), most):
            notes = ["not verified"] if row["verified"] is False else []
            notes += [_attempts(run, row["attempts"])] if row["attempts"] > 1 else []
            asked = (row["domain"], whole_question(row), row["answer"])
            note = ", ".join(notes)
            found.append(Example(source, True, *asked, row["rationale"], note, whose))
    return found


def _attempts(run: RunFolder, attempts: int) -> str:
    by_majority = run.setting("rationale.accept", "gold") == "majority"
    return f"{attempts} votes" if by_majority else f"attempt {attempts}"


def rejected(run: RunFolder, most: int = 2) -> list[Example]:
    """Choose rejected answers of each reason from the last stage that has any."""
    stages = [s.stage for s in run.distilled if s.annotation.get("rejected")]
    if not stages:
        return []
    names = StageLayout(stages[-1])
    table = run.storage.read_table(names.rejected)
    reasons = Counter(table["reason"].to_pylist()).most_common(_MOST_REASONS)
    rows = [
        row
        for reason, _ in reasons
        for row in _spread_rows(table.filter(pc.equal(table["reason"], reason)), most)
    ]
    asked = _questions(run, names, [row["example_id"] for row in rows if row["example_id"]])
    found = []
    for row in rows:
        question, answer = asked.get(row["example_id"], (None, None))
        shown = (row["domain"], question, answer or None, row["text"], row["purpose"])
        found.append(Example(row["reason"], False, *shown))
    return found


def _questions(
    run: RunFolder, names: StageLayout, ids: Sequence[str]
) -> dict[str | None, tuple[str, str]]:
    """Read question and gold answer by id: the rejected table has only the ids of real examples."""
    table = run.storage.read_table(names.selected)
    table = table.filter(pc.is_in(table["example_id"], pa.array(ids, pa.string())))
    return {row["example_id"]: (whole_question(row), row["answer"]) for row in table.to_pylist()}


def whole_question(row: Mapping[str, Any]) -> str:
    """Return a question behind the earlier turns of its chat."""
    before = [f"{turn['role']}: {turn['content']}" for turn in row.get("context") or ()]
    return "\n\n".join([*before, row["question"]])


def responses(run: RunFolder, most: int = 4) -> tuple[list[Example], str]:
    """Choose right and wrong responses of the last student, and count those without an answer."""
    stage = max((s.stage for s in run.stages if s.metrics), default=None)
    if stage is None:
        return [], ""
    table = run.storage.read_table(StageLayout(stage).responses)
    right = pc.greater_equal(table["score"], 0.5)
    found = []
    for good, rows in ((True, table.filter(right)), (False, table.filter(pc.invert(right)))):
        for row in _spread_rows(rows, most):
            tag = ("agrees" if good else "differs") if run.against_teacher else _verdict(good)
            note = row["error"] or (
                "no answer found" if row["prediction"] is None else f"read as: {row['prediction']}"
            )
            asked = (row["domain"], whole_question(row), row["answer"])
            whose = "the teacher's answer" if run.against_teacher else "gold"
            found.append(Example(tag, good, *asked, row["response"], note, whose))
    unread = int(table["prediction"].null_count)
    text = f"{len(table):,} questions; in {unread:,} responses no answer could be found."
    for reason, count in run.evaluated[title(stage)].get("left_out", {}).items():
        text += f" {count:,} more answers count in no figure: {reason}."
    if slow := table["error"].to_pylist().count(NOT_COMPARED):
        text += f" {slow:,} answers were {NOT_COMPARED}, and count as wrong."
    return found, text


def _verdict(good: bool) -> str:
    return "right" if good else "wrong"


def _spread_rows(table: pa.Table, most: int) -> list[dict[str, Any]]:
    """Choose rows evenly spread over a table, which is sorted by domain."""
    return list(table.take(pa.array(spread(len(table), most), pa.int64())).to_pylist())


def quarantine(run: RunFolder, most: int = 3) -> Quarantine:
    """Count rows by reason, and choose the first of each reason; the table may be huge."""
    counts = dict(run.corpus.get("quarantined", {}))
    if not counts:
        return Quarantine(counts)
    folder = run.storage.sub(layout.QUARANTINE)
    paths = [folder.path(name) for name in folder.tables()]
    source = ds.dataset(paths, filesystem=folder.fs, format="parquet")
    missing = {reason: min(most, count) for reason, count in counts.items()}
    rows: list[dict[str, Any]] = []
    num_read = 0
    for batch in source.to_batches():
        for reason in [reason for reason, count in missing.items() if count]:
            found = batch.filter(pc.equal(batch["reason"], reason)).slice(0, missing[reason])
            rows += found.to_pylist()
            missing[reason] -= len(found)
        num_read += len(batch)
        if num_read > _MOST_QUARANTINED_READ or not any(missing.values()):
            break
    rows.sort(key=lambda row: (row["reason"], row["file"], row["row"]))
    return Quarantine(counts, rows)
