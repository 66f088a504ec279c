"""`baldistill publish`: a run's student with its card, for the hub or as a folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baldistill.commands.card_facts import model_name
from baldistill.commands.hub import check_name, upload
from baldistill.commands.model_card import Prompting, model_card, modelfile
from baldistill.commands.shown import start_text, student_prompts
from baldistill.errors import UserError
from baldistill.generation.types import Prompt
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.reader import RunFolder, read_run

_CARD = "README.md"
_MODELFILE = "Modelfile"
_GENERATION = "generation_config.json"
_ADAPTER = "adapter_config.json"
_HOW = ("do_sample", "temperature", "top_p", "top_k", "max_length", "max_new_tokens")


@dataclass(frozen=True, slots=True)
class Published:
    """A student that was published.

    Attributes:
        stage: Of the student.
        files: Names of all that belongs to it.
        folder: Where they were written, in a dry run.
        address: Of the model on the hub, otherwise.
    """

    stage: int
    files: tuple[str, ...]
    folder: str | None = None
    address: str | None = None


def publish(
    run: str | Path,
    name: str,
    *,
    stage: int | None = None,
    adapter: bool = False,
    public: bool = False,
    dry_run: bool = False,
    out: str | Path | None = None,
) -> Published:
    """Upload a student with a model card and a Modelfile; a dry run writes the folder instead.

    Args:
        run: A run folder: path or URI.
        name: OWNER/NAME of the model on the Hugging Face hub.
        stage: By default the last that has trained a student.
        adapter: Its LoRA adapter alone, with a card (`student.lora.keep` keeps it in the run).
        public: Whether a model that is made there can be seen by all.
        dry_run: Call nobody.
        out: Folder on this machine for the dry run; by default `publish` in the run folder, and
            `publish-adapter` for an adapter.

    Raises:
        UserError: There is no such run, student or adapter, the folder holds something else, or
            the hub refuses the upload.
    """
    check_name(name)
    folder = read_run(run)
    chosen = folder.trained_stage(stage)
    files = (_adapter_files if adapter else _files)(folder, chosen, name)
    if not dry_run:
        address = upload(files, name, "model", public=public, command="publish")
        return Published(chosen, tuple(files), address=address)
    if out is None and not folder.storage.is_local:
        raise UserError(f"--out is needed: {folder.storage.uri} is not on this machine's disk")
    place = layout.PUBLISH_ADAPTER if adapter else layout.PUBLISH
    target = Path(out or folder.storage.path(place))
    _write(files, target)
    return Published(chosen, tuple(files), folder=str(target))


def _files(folder: RunFolder, stage: int, name: str) -> dict[str, Path | bytes]:
    """Return all files: those of the student's folder, and those that are made here."""
    student = folder.storage.local_dir(StageLayout(stage).student)
    files: dict[str, Path | bytes] = {p.name: p for p in sorted(student.iterdir()) if p.is_file()}
    if not any(file.endswith(".safetensors") for file in files):
        raise UserError(f"{student} holds no weights: the student of stage {stage} is gone")
    prompting = _prompting(folder, stage)
    if _GENERATION in files:
        files[_GENERATION] = _generation_config(student / _GENERATION, prompting)
    files[_CARD] = model_card(folder, stage, name, prompting).encode()
    files[_MODELFILE] = modelfile(prompting).encode()
    return files


def _adapter_files(folder: RunFolder, stage: int, name: str) -> dict[str, Path | bytes]:
    """Return the files of the adapter, and its card."""
    if folder.setting("student.lora", None) is None:
        raise UserError(
            f"the students of {folder.storage.uri} have no adapter: they were fine-tuned whole "
            "(student.lora is not set). Leave out --adapter"
        )
    if folder.setting("student.quantization", None) is not None:
        raise UserError(
            f"the adapters of {folder.storage.uri} were trained on a base in 4 bits "
            "(student.quantization=4bit), and give another model on the base that others have: "
            "leave out --adapter to publish the whole student"
        )
    place = f"{StageLayout(stage).student}/{layout.ADAPTER}"
    if not folder.storage.exists(f"{place}/{_ADAPTER}"):
        raise UserError(
            f"{folder.storage.uri_of(place)} is not there: the adapter of stage {stage} was not "
            "kept. Leave out --adapter to publish the whole student, or run anew with "
            "student.lora.keep=true"
        )
    if stage > 1 and folder.setting("student.init", "base") == "previous":
        raise UserError(
            f"the adapter of stage {stage} belongs to the student of stage {stage - 1}, from which "
            "it was trained (student.init=previous), and to no model that others have: leave out "
            "--adapter to publish the whole student"
        )
    adapter = folder.storage.local_dir(place)
    files: dict[str, Path | bytes] = {p.name: p for p in sorted(adapter.iterdir()) if p.is_file()}
    values: dict[str, Any] = json.loads((adapter / _ADAPTER).read_text("utf-8"))
    values["base_model_name_or_path"] = model_name(folder.setting("student.model", "bundled"))
    files[_ADAPTER] = (json.dumps(values, indent=2) + "\n").encode()
    prompting = _prompting(folder, stage)
    files[_CARD] = model_card(folder, stage, name, prompting, rank=int(values["r"])).encode()
    return files


def _prompting(folder: RunFolder, stage: int) -> Prompting:
    """Return how the student was asked; its question is a placeholder."""
    domains = list(folder.counts)
    prompts = student_prompts(folder)
    rendered = {
        domain: prompts.render("student", question=Prompting.QUESTION, domain=domain)
        for domain in domains
    }
    prompt: Prompt = rendered[domains[0]]
    if isinstance(prompt, str):
        prompt = start_text(folder.storage, stage) + prompt
    return Prompting(
        prompt=prompt,
        varies=len(set(rendered.values())) > 1,
        max_new_tokens=int(folder.setting("student.response.max_new_tokens", 96)),
        temperature=float(folder.setting("student.response.temperature", 0.0)),
        top_p=float(folder.setting("student.response.top_p", 1.0)),
    )


def _generation_config(path: Path, prompting: Prompting) -> bytes:
    """Return the student's generation config with the sampling of its evaluations."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    values = {key: value for key, value in values.items() if key not in _HOW}
    values["max_new_tokens"] = prompting.max_new_tokens
    values["do_sample"] = prompting.temperature > 0
    if prompting.temperature > 0:
        values |= {"temperature": prompting.temperature, "top_p": prompting.top_p, "top_k": 0}
    return (json.dumps(values, indent=2) + "\n").encode()


def _write(files: dict[str, Path | bytes], target: Path) -> None:
    """Write the folder anew; only one that an earlier dry run wrote is replaced."""
    if target.exists():
        found = {path.name for path in target.iterdir()}
        if others := sorted(found - files.keys()) or ([] if not found else _unlike_ours(found)):
            raise UserError(
                f"{target} holds something else ({others[0]}), which would be replaced: use an "
                "empty folder"
            )
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copyfile(content, target / name)
        else:
            (target / name).write_bytes(content)


def _unlike_ours(found: set[str]) -> list[str]:
    """Return the names in a folder if no dry run wrote it."""
    is_ours = any({_CARD, mark} <= found for mark in (_MODELFILE, _ADAPTER))
    return [] if is_ours else sorted(found)
