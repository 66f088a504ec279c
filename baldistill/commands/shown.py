"""Rebuild what the student of a run was shown, for commands that show it again."""

from __future__ import annotations

from collections.abc import Mapping

from baldistill.config.loading import load_config
from baldistill.data.labels import label_sets
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.reader import RunFolder
from baldistill.storage import Storage
from baldistill.teacher.prompts import PromptSet, load_prompts


def student_prompts(folder: RunFolder) -> PromptSet:
    """Return the prompts of a run's student, with the labels of its corpus."""
    storage = folder.storage
    config = load_config(storage.uri_of(layout.CONFIG))
    prompts = load_prompts(config.student.prompts, model=config.student.model)
    prompts = prompts.for_target(config.student.target)
    return prompts.with_labels(label_sets(config, folder.counts, storage))


def start_text(storage: Storage, stage: int) -> str:
    """Return the start token as text, where the student's tokenizer has one and adds none.

    The training put it in front of each text. Other trainers leave that to the tokenizer.
    """
    student = StageLayout(stage).student
    known = f"{student}/tokenizer_config.json"
    whole = f"{student}/tokenizer.json"
    if not (storage.exists(known) and storage.exists(whole)):
        return ""
    start = storage.read_json(known).get("bos_token")
    start = start.get("content") if isinstance(start, Mapping) else start
    if not start:
        return ""
    from tokenizers import Tokenizer

    added = Tokenizer.from_str(storage.read_text(whole)).encode("a").tokens
    return "" if added[:1] == [start] else str(start)
