"""`baldistill export`: what a student learnt from, as a data set that other trainers read."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.commands.dataset_card import dataset_card
from baldistill.commands.hub import upload
from baldistill.commands.shown import start_text, student_prompts
from baldistill.errors import UserError
from baldistill.generation.types import Message, Prompt, plain_text
from baldistill.records import ANNOTATED, OPTIONAL_OF_ANNOTATED, with_optional
from baldistill.run_folder import layout
from baldistill.run_folder.layout import ExportFormat, StageLayout
from baldistill.run_folder.reader import RunFolder, read_run
from baldistill.storage import Storage
from baldistill.student.lessons import lesson_of
from baldistill.teacher.prompts import PromptSet

CARD = "README.md"
_FILES = {"parquet": "train.parquet"}
_JSON_LINES = "train.jsonl"
_ORIGIN = ("domain", "source")  # columns of each example that no trainer needs, but people do
_BATCH = 4096  # examples that are rendered at once


@dataclass(frozen=True, slots=True)
class Export:
    """A data set that was written.

    Attributes:
        folder: Path or URI; it holds the file and a dataset card.
        file: Name of the file in it.
        stage: Whose student learnt from these examples.
        num_examples: As often as the student saw them in an epoch: repeated ones count each time.
        pushed: Address of the data set on the hub; None if it was not pushed.
    """

    folder: str
    file: str
    format: ExportFormat
    stage: int
    num_examples: int
    pushed: str | None = None


def export(
    run: str | Path,
    *,
    format: ExportFormat | None = None,  # the word that users know
    stage: int | None = None,
    out: str | Path | None = None,
    push: str | None = None,
    public: bool = False,
) -> Export:
    """Write what a student learnt from, rendered as it was shown, with a dataset card.

    Args:
        run: A run folder: path or URI. The run may still be at work.
        format: By default `messages` if the student was shown chats, else `prompt-completion`.
        stage: Whose student; by default the last stage that annotated. Where
            `student.data=cumulative`, its student also learnt from all stages before.
        out: Folder or URI; by default `export/FORMAT` in the run folder.
        push: OWNER/NAME of a data set on the Hugging Face hub, to upload the folder to.
        public: Whether a data set that is made there can be seen by all.

    Raises:
        UserError: There is no such run or stage, the format cannot show the prompts, the folder
            holds something else, or the hub refuses the upload.
    """
    folder = read_run(run)
    last = _stage(folder, stage)
    cumulative = folder.setting("student.data", "cumulative") == "cumulative"
    stages = range(1 if cumulative else last, last + 1)
    prompts = student_prompts(folder)
    is_chat = not isinstance(prompts.templates["student"], str)
    chosen: ExportFormat = format or ("messages" if is_chat else "prompt-completion")
    if chosen == "messages" and not is_chat:
        raise UserError(
            f"the student of {folder.storage.uri} was shown plain texts (prompts "
            f"{prompts.source}), and format messages needs chats: use prompt-completion, alpaca "
            "or parquet"
        )
    target = Storage.open(out) if out else folder.storage.sub(f"{layout.EXPORT}/{chosen}")
    _check_is_ours(target)
    file = _FILES.get(chosen, _JSON_LINES)
    with tempfile.TemporaryDirectory(prefix="baldistill-export-") as scratch:
        start = "" if is_chat else start_text(folder.storage, last)
        examples = _examples(folder, stages, prompts, start)
        is_table = chosen == "parquet"
        write = _write_parquet(_columns(folder, stages)) if is_table else _write_lines(chosen)
        write(examples, Path(scratch, file))
        counts = _counts(folder, stages)
        card = dataset_card(folder, last, chosen, file, counts, is_chat=is_chat)
        Path(scratch, CARD).write_text(card, "utf-8")
        target.upload_dir(Path(scratch), "")
        pushed = None
        if push:
            files = {name: Path(scratch, name) for name in (CARD, file)}
            pushed = upload(files, push, "dataset", public=public, command="export")
    total = sum(sum(sources.values()) for sources in counts.values())
    return Export(target.uri, file, chosen, last, total, pushed)


def _stage(folder: RunFolder, stage: int | None) -> int:
    """Return the number of a stage that has annotated."""
    done = [one.stage for one in folder.distilled if "annotated" in one.seconds]
    if not done:
        raise UserError(f"no stage of {folder.storage.uri} has annotated anything yet")
    if stage is not None and stage not in done:
        there = "stage 1 alone" if len(done) == 1 else f"the stages 1 to {done[-1]}"
        raise UserError(f"--stage {stage}: {folder.storage.uri} has annotated in {there}")
    return done[-1] if stage is None else stage


def _check_is_ours(target: Storage) -> None:
    """Refuse a folder with anything but an earlier export: writing replaces all that it holds."""
    ours = {CARD, _JSON_LINES, *_FILES.values()}
    if others := sorted(target.entries() - ours):
        raise UserError(
            f"{target.uri} holds something else ({others[0]}), which an export would remove: use "
            "an empty folder"
        )


def _counts(folder: RunFolder, stages: range) -> dict[str, Counter[str]]:
    """Return domain -> source -> rows of some stages."""
    counts: dict[str, Counter[str]] = {}
    for stage in folder.distilled:
        if stage.stage in stages:
            for domain, sources in stage.sources.items():
                counts.setdefault(domain, Counter()).update(sources)
    return counts


def _examples(
    folder: RunFolder, stages: range, prompts: PromptSet, start: str
) -> Iterator[dict[str, Any]]:
    """Yield the rows of some stages with `prompt` and `completion`.

    With `student.target: both` a row comes twice: with its answer and with its rationale.
    """
    target = str(folder.setting("student.target", "rationale"))
    for number in stages:
        table = folder.storage.read_table(StageLayout(number).annotated)
        for batch in table.to_batches(_BATCH):
            for row in batch.to_pylist():
                for prompt, completion in lesson_of(row, prompts, target).pairs:
                    shown = start + prompt if isinstance(prompt, str) else prompt
                    yield {**row, "stage": number, "prompt": shown, "completion": completion}


def _turns(prompt: Prompt) -> list[dict[str, str]]:
    assert not isinstance(prompt, str)
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def _answer(example: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": example["completion"]}]


def _as_messages(example: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [*_turns(example["prompt"]), *_answer(example)]}


def _as_prompt_completion(example: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(example["prompt"], str):
        return {"prompt": example["prompt"], "completion": example["completion"]}
    return {"prompt": _turns(example["prompt"]), "completion": _answer(example)}


def _as_alpaca(example: Mapping[str, Any]) -> dict[str, Any]:
    prompt = example["prompt"]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _turns(prompt)
    chat = tuple(Message(**turn) for turn in turns)
    system, others = (
        tuple(t for t in chat if (t.role == "system") == is_system) for is_system in (True, False)
    )
    texts = {"system": plain_text(system)[:-1], "instruction": plain_text(others)[:-1]}
    return {**texts, "input": "", "output": example["completion"]}


_RENDER: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "messages": _as_messages,
    "prompt-completion": _as_prompt_completion,
    "alpaca": _as_alpaca,
}


def _write_lines(format: ExportFormat) -> Callable[[Iterator[dict[str, Any]], Path], None]:
    """Return what writes examples of a format as JSON lines."""
    render = _RENDER[format]

    def write(examples: Iterator[dict[str, Any]], path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="\n") as lines:
            for example in examples:
                row = render(example) | {name: example[name] for name in _ORIGIN}
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


def _columns(folder: RunFolder, stages: range) -> pa.Schema:
    """Return the columns of annotated examples, and the optional ones that a stage's table has."""
    storage = folder.storage
    names: set[str] = set()
    for number in stages:
        path = storage.path(StageLayout(number).annotated)
        names.update(pq.read_schema(path, filesystem=storage.fs).names)
    return with_optional(ANNOTATED, names, OPTIONAL_OF_ANNOTATED)


def _write_parquet(columns: pa.Schema) -> Callable[[Iterator[dict[str, Any]], Path], None]:
    """Return what writes these columns of examples, in row groups: only one of them is in memory.

    An example has nulls where the table of its stage lacks an optional column.
    """

    def write(examples: Iterator[dict[str, Any]], path: Path) -> None:
        first = next(examples, None)
        if first is None:
            raise UserError("there is nothing to export: no answer of the teacher was accepted")
        turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        prompt = pa.string() if isinstance(first["prompt"], str) else turns
        shown = [("prompt", prompt), ("completion", pa.string()), ("stage", pa.int32())]
        schema = pa.schema([*(pa.field(*column) for column in shown), *columns])
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            rows: list[dict[str, Any]] = []
            for example in (one for part in ([first], examples) for one in part):
                if not isinstance(example["prompt"], str):
                    example["prompt"] = _turns(example["prompt"])
                rows.append(example)
                if len(rows) == _BATCH:
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                    rows.clear()
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))

    return write
