"""The config of a student as transformers' TrainingArguments."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import TrainingArguments

from baldistill.config import StudentConfig
from baldistill.errors import ConfigError
from baldistill.generation.device import device_here

_REPORTS = 80  # at most, in one training; at least half as many if there are enough steps
_SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def training_arguments(
    config: StudentConfig, seed: int, output: Path, run_name: str | None = None
) -> TrainingArguments:
    """Return the arguments of one training, for trackers a run of that name.

    `student.trainer` wins.

    Raises:
        ConfigError: transformers refuses one of them.
    """
    on_gpu = torch.cuda.is_available()
    ours = {
        "output_dir": str(output),
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _SCHEDULERS[config.lr_schedule],
        "warmup_steps": config.warmup_ratio,  # below 1: a share of the steps
        "weight_decay": config.weight_decay,
        "bf16": uses_bf16(config),
        "train_sampling_strategy": "group_by_length",
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1 / _REPORTS,  # a share of the steps; the workers' number decides those
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": [],
        "run_name": run_name,
        "disable_tqdm": True,
        "use_cpu": device_here() == "cpu",
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
    }
    if config.optimizer != "auto":
        ours["optim"] = config.optimizer
    if on_gpu and config.precision == "auto" and torch.cuda.get_device_capability() >= (8, 0):
        ours["tf32"] = True
    given = {key: value for key, value in config.trainer.items() if "liger" not in key}  # liger.py
    try:
        return TrainingArguments(**{**ours, **given})
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"student.trainer or student.optimizer: {error}") from None


def uses_bf16(config: StudentConfig) -> bool:
    """Return whether this process computes in bfloat16."""
    if config.precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return config.precision == "bfloat16"
