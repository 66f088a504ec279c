"""A folder belongs to one run, comparison or sweep: which options of its config may change.

In a run folder, options that decide how fast the run goes, and not what it finds, may always
change. Any other option may change until a step that it decides is committed. Otherwise a trained
stage would be annotated again, from a budget that is spent.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

from baldistill.config import Config
from baldistill.config.loading import dump_config, read_mapping, validate
from baldistill.errors import ConfigError
from baldistill.run_folder import layout
from baldistill.run_folder.caps import CAPS
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import is_committed
from baldistill.storage import Storage

PLACEMENT = {
    "resources", "num_workers", "worker_resources", "engine", "tokens_per_batch", "compile",
    "checkpoint", "parallel",
}  # fmt: skip
"""The student's options that decide where and how fast it runs, not what it learns."""

_PACKAGES = ("baldistill", "ray", "torch", "transformers", "peft", "numpy", "pyarrow", "pydantic")
_TRAINING = {
    "epochs", "learning_rate", "lr_schedule", "warmup_ratio", "weight_decay", "batch_size",
    "gradient_accumulation", "max_length", "precision", "gradient_checkpointing", "lora",
    "optimizer", "trainer", "quantization",
}  # fmt: skip


def adopt_run(storage: Storage, config: Config, answers: str) -> None:
    """Write config and versions into a new run folder, or check that its run may go on with them.

    A config that differs in what may change is written too. The error names the store of the
    teacher's answers by its path or URI, `answers`.

    Raises:
        ConfigError: The folder holds steps that another config decided.
    """
    text = dump_config(config)
    if not storage.exists(layout.CONFIG):
        versions = {name: _version(name) for name in _PACKAGES}
        about = {"python": sys.version.split()[0], "platform": platform.platform()}
        storage.write_json(layout.VERSIONS, about | versions)
    elif storage.read_text(layout.CONFIG) != text:
        held = storage.uri_of(layout.CONFIG)
        before = validate(read_mapping(storage.read_text(layout.CONFIG), held), held)
        if changed := changes(storage, before, config):
            raise ConfigError(
                f"{storage.uri} holds a run with another config ({', '.join(changed)}): go on "
                f"with {held}, or use another --run-dir, with --store {answers} so that answers "
                "of the teacher that both runs need are not paid again"
            )
    storage.write_text(layout.CONFIG, text)


def adopt_comparison(folder: Storage, config: Config) -> None:
    """Write what is compared into a new folder, or check that it is the same.

    The runs of a comparison may differ in method and seed, not in corpus, teacher or student.

    Raises:
        ConfigError: The folder holds another comparison.
    """
    subject = {
        "data": config.data.model_dump(mode="json"),
        "teacher": [teacher.signature() for teacher in config.teacher.tiers],
        "student": config.student.model,
    }
    if config.tail.verifier is not None:
        subject["verifier"] = config.tail.verifier.signature()
    if config.judge is not None:
        subject["judge"] = config.judge.signature()
    if not folder.exists(layout.SUBJECT):
        folder.write_json(layout.SUBJECT, subject)
    elif folder.read_json(layout.SUBJECT) != subject:
        raise ConfigError(
            f"{folder.uri} holds a comparison on another corpus, teacher or student: use "
            "another --run-dir"
        )


def adopt_sweep(
    folder: Storage, config: Config, space: str, is_same_space: Callable[[str], bool]
) -> None:
    """Write config and space (YAML) into a new folder, or check that it is the same sweep.

    `is_same_space` returns whether the sweep may go on from the space that the folder holds.

    Raises:
        ConfigError: The folder holds another sweep.
    """
    if folder.exists(layout.CONFIG):
        held = read_mapping(folder.read_text(layout.CONFIG), folder.uri_of(layout.CONFIG))
        # validated: the version that wrote it had not all of today's options
        same_config = dump_config(validate(held, folder.uri)) == dump_config(config)
        if not (is_same_space(folder.read_text(layout.SPACE)) and same_config):
            raise ConfigError(
                f"{folder.uri} holds a sweep of another config or space: use another --run-dir, or "
                f"go on with that one by --run-dir {folder.uri} alone"
            )
    folder.write_text(layout.SPACE, space)
    folder.write_text(layout.CONFIG, dump_config(config))


def changes(storage: Storage, before: Config, after: Config) -> list[str]:
    """Return the keys that decided what the folder holds, and differ."""
    if not is_committed(storage, layout.CORPUS_STEP):
        return []
    trained = is_committed(storage, StageLayout(1).step("student"))
    old, new = _flat(_decisive(before, trained)), _flat(_decisive(after, trained))
    changed = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    for cap in CAPS:
        least, most = getattr(before.budget, cap), getattr(after.budget, cap)
        if most is not None and (least is None or most < least):
            changed.append(f"budget.{cap}, which may be raised only")
    return changed


def _decisive(config: Config, trained: bool) -> dict[str, Any]:
    student = PLACEMENT if trained else PLACEMENT | _TRAINING
    values = config.model_dump(
        mode="json",
        exclude={
            "name": True,
            "cluster": True,
            "teacher": True,
            "judge": True,
            "budget": set(CAPS),
            "student": student,
            "tail": {"verifier"},
            "evaluation": set(config.evaluation.beside),
        },
    )
    if config.tail.verifier is not None:
        values["tail"]["verifier"] = config.tail.verifier.signature()
    if config.judge is not None:
        values["judge"] = config.judge.signature()
    tiers = {str(number): tier.signature() for number, tier in enumerate(config.teacher.tiers)}
    # The keys are named as users write them: `teacher.tiers` exists in a cascade alone.
    return values | {"teacher": tiers["0"] if len(tiers) == 1 else {"tiers": tiers}}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys and their values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
