"""`baldistill evaluate`: any model, or the student of a run, on the evaluation set of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baldistill.commands.run import RunResult, run
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.config.teachers import TransformersTeacher
from baldistill.errors import UserError
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.reader import RunFolder, read_run
from baldistill.run_folder.trust import check_code_is_safe
from baldistill.storage import Storage


def is_run(model: str) -> bool:
    """Return whether this is a run folder, and no model."""
    is_place = "://" in model or Path(model).is_dir()
    return is_place and Storage.open(model).exists(layout.CONFIG)


def config_of_run(run: str, overrides: list[str]) -> Config:
    """Return the config of a run, with options in place of its own."""
    folder = Storage.open(run)
    config = load_config(folder.uri_of(layout.CONFIG), overrides)
    check_code_is_safe(folder, config)
    return config


def evaluate(
    model: str,
    config: Config | None = None,
    *,
    stage: int | None = None,
    run_dir: str | Path | None = None,
    address: str | None = None,
    verbose: bool = False,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Let a model answer the evaluation set; nothing is trained.

    No teacher is asked, unless `evaluation.teacher` wants its own answers as a column beside, or a
    judge marks answers that are texts. What a run has is not paid again, and its rubric decides.

    The folder is that of a run without a budget: `stages/00/responses.parquet` has the answers.

    Args:
        model: Hub id, path or URI of a model; or a run folder, whose student is meant.
        config: Corpus, prompts and sampling; by default those of the run, or the quickstart's.
        stage: Of the run; by default the last that has trained a student.
        run_dir: Folder or URI for the result; the same folder resumes.
        address: Of a Ray cluster.
        verbose: Show Ray's own messages.
        quiet: Show nothing.
        options: As those of `run`; `store` is by default that of the run, if MODEL is one.

    Raises:
        UserError: For anything that the user can mend.
    """
    if is_run(model):
        config = config or config_of_run(model, [])
        folder = read_run(model)
        asks = config.evaluation.teacher or config.judge is not None
        if asks and options.get("store") is None:
            options["store"] = folder.storage.uri_of(layout.RESPONSES)
        config = _with_rubric_of(folder, config)
        name = StageLayout(folder.trained_stage(stage)).student
        model = (
            folder.storage.path(name) if folder.storage.is_local else folder.storage.uri_of(name)
        )
    elif stage is not None:
        raise UserError(f"--stage {stage} is of a run, and {model} is no run folder")
    else:
        _check_is_model(model)
    chosen = _only_evaluated(config or load_config(), model)
    target = run_dir or layout.new_folder(f"evaluate-{chosen.name}")
    return run(chosen, run_dir=target, address=address, verbose=verbose, quiet=quiet, **options)


def _check_is_model(model: str) -> None:
    """Raise UserError for a folder without a model, and for a path where nothing is."""
    place = Path(model)
    if place.is_dir() and not (place / "config.json").exists():
        raise UserError(
            f"{model} is neither a run folder (it has no {layout.CONFIG}) nor a model's (no "
            "config.json)"
        )
    near = place.parent != Path() and place.parent.is_dir()
    if (near or model.startswith(("/", ".", "~"))) and "://" not in model and not place.is_dir():
        raise UserError(
            f"there is no folder {model}: give that of a run or of a model, or a hub id (from "
            "another folder, if this one happens to hold one of its owner's name)"
        )


def _with_rubric_of(folder: RunFolder, config: Config) -> Config:
    """Return the config with the rubric that the run kept, unless another file is named."""
    storage = folder.storage
    if config.judge is None or not (storage.is_local and storage.exists(layout.RUBRIC)):
        return config
    if config.judge.rubric != folder.setting("judge.rubric", None):
        return config
    judge = config.judge.model_copy(update={"rubric": storage.path(layout.RUBRIC)})
    return config.model_copy(update={"judge": judge})


def _only_evaluated(config: Config, model: str) -> Config:
    """Return the config with this model as a student that is not trained."""
    if config.evaluation.gold == "teacher":
        raise UserError(
            "evaluation.gold=teacher would ask the teacher, and this command asks none: give "
            "data.evaluation, data.columns.evaluation_answer and evaluation.gold=corpus"
        )
    prompts = config.student.prompts
    if prompts == "auto":  # goes by the model's name, and a student of the bundled one has a path
        prompts = "compact" if "bundled" in (config.student.model, model) else "instruct"
    values = config.model_dump()
    values["student"] |= {"model": model, "prompts": prompts}
    if not config.evaluation.teacher:
        values["teacher"] = TransformersTeacher().model_dump()  # which is never started
    values["budget"] |= {"total": 0}
    values["evaluation"] |= {"base_student": True}
    return Config.model_validate(values)
