"""Fine-tune the student in this process, with transformers' Trainer: full weights or LoRA.

`train` works without Ray. Inside a Ray Train worker the Trainer finds the process group that Ray
set up, and averages gradients over the workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import is_flash_attn_2_available

from baldistill.config import LoraConfig, StudentConfig
from baldistill.errors import ConfigError, UserError
from baldistill.generation.head import keeps_examples_apart
from baldistill.generation.loading import context_size, load_pretrained
from baldistill.run_folder.layout import ADAPTER
from baldistill.student.arguments import training_arguments, uses_bf16
from baldistill.student.batching import Layout, collate
from baldistill.student.checkpoints import Checkpoints
from baldistill.student.encode import Lesson, encode_examples
from baldistill.student.liger import use_liger
from baldistill.student.loss import TargetLoss
from baldistill.student.memory import tokens_per_batch
from baldistill.student.quantized import load_quantized, merged_with_adapter
from baldistill.student.saving import Saving, trained_weights
from baldistill.student.sharding import is_sharded, num_shards, part_of_this_worker, shard, whole
from baldistill.student.trainer import StepTrainer
from baldistill.student.training import Progress, TrainingResult


def train(
    lessons: Sequence[Lesson],
    *,
    init: str,
    output: Path,
    config: StudentConfig,
    seed: int,
    on_progress: Callable[[Progress], None] | None = None,
    is_main: bool = True,
    checkpoints: Checkpoints | None = None,
    resume: Path | None = None,
    run_name: str | None = None,
) -> TrainingResult:
    """Fine-tune a causal language model on lessons, with the loss on their targets only.

    The model starts from `init`, a hub id or path. The main worker writes model and tokenizer, with
    adapters merged, to the folder `output`. The seed fixes the order of examples, adapters' first
    values and dropout. What `student.checkpoint` asks for goes to `checkpoints`; with `resume`, the
    folder of one, training goes on from there. Trackers see `run_name`.

    Raises:
        UserError: The model cannot be loaded, the loss is no number, or memory does not suffice.
        DataError: No target is within `student.max_length`.
        ConfigError: `student.lora.target_modules` names no layer of the model.
    """
    report = on_progress or (lambda progress: None)
    report(Progress(status="loading the model"))
    set_seed(seed)
    tokenizer, model = _load(init, config)
    own_dtype = _dtype_of(init)
    max_length = min(config.max_length, context_size(model))
    report(Progress(status=f"encoding {len(lessons):,} examples"))
    encoded = encode_examples(lessons, tokenizer, max_length)
    reporter = _Reporter(config, report)
    saving = Saving(checkpoints, config.checkpoint, reporter.losses, resume, report)
    args = training_arguments(config, seed, output, run_name)
    trainer = _trainer(model, encoded.rows, tokenizer, config, args, saving)
    trainer.add_callback(reporter)
    try:
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(config, error) from None
    _check_weights(trainer.model, config)
    model = _whole_model(trainer, init, config, is_main=is_main)
    if is_main:
        _save(model, tokenizer, output, init, own_dtype, config)
    last = [loss for step, loss in reporter.losses if step > trainer.state.max_steps * 0.9]
    return TrainingResult(
        num_examples=len(encoded.rows),
        num_steps=trainer.state.global_step,
        loss=sum(last) / len(last),
        losses=tuple(reporter.losses),
        truncated=encoded.truncated,
        dropped=encoded.dropped,
    )


class _Reporter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Reports steps and losses, and stops a training whose loss is no number."""

    def __init__(self, config: StudentConfig, report: Callable[[Progress], None]) -> None:
        self._config, self._report = config, report
        self.losses: list[tuple[int, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        done = state.global_step
        status = f"going on after step {done}" if done else "taking the first step"
        self._report(Progress(done, state.max_steps, status=status))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:  # transformers logs only every n-th step
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise _diverged(
                f"the training loss became {loss} at step {state.global_step}", self._config
            )
        self.losses.append((state.global_step, float(loss)))
        self._report(Progress(state.global_step, state.max_steps, float(loss)))


def _check_weights(model: Any, config: StudentConfig) -> None:
    if not all(part_of_this_worker(part).isfinite().all() for part in model.parameters()):
        raise _diverged("the student's weights are not finite after training", config)


def _diverged(what: str, config: StudentConfig) -> UserError:
    return UserError(f"{what}: lower student.learning_rate (now {config.learning_rate:g})")


def _out_of_memory(config: StudentConfig, error: torch.OutOfMemoryError) -> UserError:
    return UserError(
        f"the GPU's memory does not hold the training: lower student.tokens_per_batch (now "
        f"{config.tokens_per_batch}), which trains alike; or set "
        f"student.gradient_checkpointing=true, student.max_length or student.lora. {error}"
    )


def _load(init: str, config: StudentConfig) -> tuple[Any, Any]:
    if config.quantization is not None:
        return load_quantized(init, _dtype_in_training(config))
    return load_pretrained(init, "auto" if _casts_shares(config) else _dtype_in_training(config))


def _dtype_in_training(config: StudentConfig) -> torch.dtype:
    """Return the weights' type; full fine-tuning keeps float32 (autocast computes in bfloat16)."""
    adapted_in_bf16 = uses_bf16(config) and config.lora is not None
    return torch.bfloat16 if adapted_in_bf16 else torch.float32


def _is_shared(config: StudentConfig) -> bool:
    return config.parallel == "fsdp" and num_shards() > 1


def _casts_shares(config: StudentConfig) -> bool:
    """Return whether weights get their type in training when they are shared out.

    Until then they take half the memory of a node, on which several workers load them. Those of an
    adapter have another type than those that it adapts.
    """
    return _is_shared(config) and config.lora is None


def _with_adapter(model: Any, lora: LoraConfig) -> Any:
    import peft  # 0.3 s that most trainings need not wait

    modules = lora.target_modules
    adapter = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(model, adapter)
    except ValueError as error:
        raise ConfigError(f"student.lora.target_modules: {error}") from None


def _trainer(
    model: Any,
    rows: Sequence[Any],
    tokenizer: Any,
    config: StudentConfig,
    args: TrainingArguments,
    saving: Saving,
) -> StepTrainer:
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    use_kernels = bool(config.trainer.get("use_liger_kernel"))
    if use_kernels:
        use_liger(model, config.trainer.get("liger_kernel_config") or {})
    layout = _layout(model, config)
    budget = tokens_per_batch(model, config)
    if config.lora is not None:
        model = _with_adapter(model, config.lora)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    student = TargetLoss(model, fuse=use_kernels)
    if _is_shared(config):
        dtype = _dtype_in_training(config) if _casts_shares(config) else None
        shard(student, args.device, dtype, in_bfloat16=uses_bf16(config))
    if config.compile:  # in place, so that the weights keep their names
        student.causal.get_decoder().compile(dynamic=True)
    trainer = StepTrainer(
        saving=saving,
        model=student,
        args=args,
        train_dataset=rows,
        data_collator=partial(
            collate,
            pad=pad,
            budget=budget,
            layout=layout,
            label_weight=config.label_weight if config.target == "both" else None,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _layout(model: Any, config: StudentConfig) -> Layout:
    """Pack where FlashAttention is; else like lengths side by side, which SDPA's kernels prefer.

    A mask between packed examples costs SDPA its fast kernels, and time by the square of the row.
    """
    has_flash = torch.cuda.is_available() and uses_bf16(config) and is_flash_attn_2_available()
    if has_flash and keeps_examples_apart(model, packed=True):
        try:
            model.set_attn_implementation("flash_attention_2")
            return "packed-flash"
        except (ValueError, ImportError):  # not for this architecture
            pass
    return "padded" if keeps_examples_apart(model, packed=False) else "masked"


def _dtype_of(path: str) -> torch.dtype:
    dtype = AutoConfig.from_pretrained(path, trust_remote_code=False).get_text_config().dtype
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else torch.float32


def _whole_model(trainer: StepTrainer, init: str, config: StudentConfig, *, is_main: bool) -> Any:
    """Return the trained model, peft's or plain, whole on this worker; of shared ones on the main.

    A shared student is loaded again on the CPU, for the weights that were not trained, and takes
    over those that were.
    """
    student = trainer.accelerator.unwrap_model(trainer.model)
    if not is_sharded(student):
        return student.language_model
    weights = whole(trained_weights(student), keep=is_main)
    if not is_main:
        return None
    _, model = load_pretrained(init, _dtype_in_training(config))
    fresh = TargetLoss(model if config.lora is None else _with_adapter(model, config.lora))
    with torch.no_grad():
        for name, weight in trained_weights(fresh).items():
            weight.copy_(weights[name])
    return fresh.language_model


def _save(
    model: Any,
    tokenizer: Any,
    output: Path,
    init: str,
    dtype: torch.dtype,
    config: StudentConfig,
) -> None:
    """Write a model that engines load: its adapter is merged, and stands beside it if asked for."""
    if config.lora is not None:
        if config.lora.keep:
            model.save_pretrained(output / ADAPTER)
            (output / ADAPTER / "README.md").unlink(missing_ok=True)  # peft's empty model card
        if config.quantization is not None:
            model = merged_with_adapter(model, init, dtype)
        else:
            model = model.merge_and_unload()
    model.to(dtype).save_pretrained(output)
    tokenizer.save_pretrained(output)
