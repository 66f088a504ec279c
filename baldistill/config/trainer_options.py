"""Check `student.trainer` and `student.optimizer` against transformers' source.

Importing transformers takes seconds and torch, which the config does without: its file of training
arguments is parsed instead.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_RUN = "the run folder holds what is kept"
_OURS = {
    "per_device_train_batch_size": "set student.batch_size",
    "gradient_accumulation_steps": "set student.gradient_accumulation",
    "auto_find_batch_size": "set student.tokens_per_batch",
    "num_train_epochs": "set student.epochs",
    "max_steps": "set student.epochs",
    "learning_rate": "set student.learning_rate",
    "lr_scheduler_type": "set student.lr_schedule",
    "warmup_steps": "set student.warmup_ratio",
    "warmup_ratio": "set student.warmup_ratio",
    "weight_decay": "set student.weight_decay",
    "optim": "set student.optimizer",
    "torch_compile": "set student.compile",
    "bf16": "set student.precision",
    "fp16": "set student.precision",
    "gradient_checkpointing": "set student.gradient_checkpointing",
    "gradient_checkpointing_kwargs": "set student.gradient_checkpointing",
    "seed": "set seed",
    "data_seed": "set seed",
    "full_determinism": "set seed",
    "output_dir": "set --run-dir",
    "save_strategy": "set student.checkpoint",
    "save_steps": "set student.checkpoint",
    "save_only_model": _RUN,
    "save_total_limit": _RUN,
    "load_best_model_at_end": _RUN,
    "resume_from_checkpoint": "a run goes on by itself",
    "ignore_data_skip": "a run goes on with the next example",
    "restore_callback_states_from_checkpoint": "a run goes on by itself",
    "push_to_hub": "upload the student's folder after the run",
    "do_train": "a stage always trains",
    "do_eval": "set evaluation.every_stage",
    "eval_strategy": "set evaluation.every_stage",
    "eval_steps": "set evaluation.every_stage",
    "per_device_eval_batch_size": "set student.resources.batch_size",
    "logging_strategy": "set logging_steps: losses are always reported",
    "logging_nan_inf_filter": "a loss that is no number ends the training",
    "disable_tqdm": "the run shows its own progress",
    "remove_unused_columns": "the examples have no such columns",
    "label_smoothing_factor": "it is not supported",
    "deepspeed": "it is not supported",
    "fsdp": "set student.parallel",
    "fsdp_config": "set student.parallel",
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError for a key that is ours, or that TrainingArguments does not have."""
    for key in options:
        if key in _OURS:
            raise ValueError(f"{key} cannot be set here: {_OURS[key]}")
    if options:
        _check(options, _known()[0], "is no field of transformers' TrainingArguments")


def check_optimizer(name: str) -> None:
    """Raise ValueError for a name that transformers does not know."""
    if name != "auto":
        _check([name], _known()[1], "is no optimiser of transformers")


def _check(names: Iterable[str], known: frozenset[str], problem: str) -> None:
    for name in names:
        if known and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ValueError(f"{name} {problem}{f'; did you mean {near[0]}?' if near else ''}")


@functools.cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """Return TrainingArguments' fields and the optimisers' names; empty without transformers."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        return frozenset(), frozenset()
    source = Path(package.origin).with_name("training_args.py").read_text("utf-8")
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    fields = {
        line.target.id
        for line in classes["TrainingArguments"].body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    optimizers = {
        str(line.value.value)
        for line in classes["OptimizerNames"].body
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
    }
    return frozenset(fields), frozenset(optimizers)
