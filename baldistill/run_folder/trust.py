"""A config that a run takes from its folder: whoever wrote it decides where the teacher's key goes.

`baldistill run --run-dir DIR` goes on with config.yaml of DIR, and `teacher.base_url` there names
the server that gets the key and the prompts; and `budget.policy` may name code that is run. So
another user's file needs the user's word.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from baldistill.config import Config
from baldistill.config.benchmarks import is_task_file
from baldistill.config.engines import OpenAIOptions
from baldistill.core.own_policy import OwnPolicy
from baldistill.core.own_score import OwnScore
from baldistill.core.own_task import is_own_task
from baldistill.errors import ConfigError
from baldistill.run_folder import layout
from baldistill.storage import Storage


def check_key_is_safe(storage: Storage, config: Config) -> list[str]:
    """Return where the folder's config sends keys, a line for each server that it names.

    Raises:
        ConfigError: Another user wrote the file, or can write to it.
    """
    servers = {
        f"the key in {options.api_key_env} goes to {options.base_url} ({_key_of(options, config)} "
        f"of {storage.uri_of(layout.CONFIG)})": None
        for options in config.models_asked
        if isinstance(options, OpenAIOptions) and options.base_url
    }
    if servers and (fault := _fault(storage)):
        file = storage.uri_of(layout.CONFIG)
        raise ConfigError(
            f"{file} {fault}, and with it {', '.join(servers)}. If you want that, name the file "
            f"yourself: baldistill run {file} --run-dir {storage.uri}"
        )
    return list(servers)


def _key_of(options: OpenAIOptions, config: Config) -> str:
    if config.judge is not None and options is config.judge.teacher:
        return "judge.teacher.base_url"
    return f"{'tail.verifier' if options is config.tail.verifier else 'teacher'}.base_url"


def check_code_is_safe(storage: Storage, config: Config) -> None:
    """Refuse to import what a folder's config names, if somebody else may have named it.

    Raises:
        ConfigError: Another user wrote the file, or can write to it, and it names a user's part.
    """
    policy = config.budget.policy
    score = config.selection.metric
    named = [f"budget.policy runs the code {policy.kind}"] if isinstance(policy, OwnPolicy) else []
    named += [f"selection.metric runs the code {score.kind}"] if isinstance(score, OwnScore) else []
    named += [f"{key} runs the code {own.kind}" for key, own in config.own_filters.items()]
    named += [f"data.task runs the code {task}" for task in config.tasks if is_own_task(task)]
    named += [
        f"evaluation.metrics runs the code {kind}" for kind in config.evaluation.metrics.values()
    ]
    named += [
        f"evaluation.benchmarks runs the code that {task} names"
        for task in config.evaluation.benchmarks
        if is_task_file(task)
    ]
    if named and (fault := _fault(storage)):
        file = storage.uri_of(layout.CONFIG)
        raise ConfigError(
            f"{file} {fault}, and its {', its '.join(named)}. If you want that, "
            f"name the file yourself: baldistill run {file} --run-dir {storage.uri}"
        )


def _fault(storage: Storage) -> str | None:
    """Return why a user cannot rely on the folder's config; None for one of their own."""
    if not storage.is_local or os.name != "posix":
        return None
    about = Path(storage.path(layout.CONFIG)).stat()
    if about.st_uid not in (os.geteuid(), 0):
        return "belongs to another user"
    if about.st_mode & stat.S_IWOTH:
        return "can be written to by every user"
    return None
