"""Estimate the memory that the models of a config need, by arithmetic (docs/students.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from baldistill.config import Config, StudentConfig
from baldistill.config.teachers import TransformersTeacher, VllmTeacher
from baldistill.generation.types import ModelRef
from baldistill.student.memory import activations, gathered
from baldistill.uris import masked

_BESIDE = 2 * 2**30  # a chunk's logits, CUDA's context, what the allocator cannot use
_NF4 = 0.516  # bytes a weight: 4 bits, 8 for each 64 weights' scale, 32 for each 256 scales
_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Need:
    """The memory that a model needs on each device, in bytes, and how to need less."""

    subject: str
    total: int
    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The reason why a model's need is not known, and the way out."""

    subject: str
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class _Shape:
    """A model as its config describes it.

    Attributes:
        count: Parameters.
        linear: Those of them in linear layers. The head is not counted among those: it stays as
            it is where the layers are quantised.
        text: The config of the part that reads and writes text.
    """

    count: int
    linear: int
    text: Any


def memory_needs(config: Config, *, num_gpus: float) -> Iterator[Need | Unknown]:
    """Yield what student and local teachers need, or why that is unknown.

    Args:
        config: Of the run.
        num_gpus: Those of the cluster; without any, models are in the memory of a machine.
    """
    yield _student(config.student, num_gpus)
    for number, tier in enumerate(config.models_asked, start=1):
        if tier.kind not in ("transformers", "vllm") or tier.model == "bundled":
            continue
        subject = subject_of(config, number)
        shape = _shape(tier.model)
        if isinstance(shape, str):
            yield Unknown(subject, shape, _fix(tier.model, subject))
            continue
        yield _teacher(subject, tier, shape, num_gpus)


def subject_of(config: Config, number: int) -> str:
    """Name one of `config.models_asked`, from 1."""
    if config.judge is not None and number == len(config.models_asked):
        return "judge"
    if number > len(config.teacher.tiers):
        return "verifier"
    return "teacher" if len(config.teacher.tiers) == 1 else f"teacher {number}"


def _teacher(
    subject: str, tier: TransformersTeacher | VllmTeacher, shape: _Shape, num_gpus: float
) -> Need:
    """Return the need of one card; vLLM starts only with room for one longest prompt."""
    width = _WIDTH.get(tier.dtype, 2 if num_gpus else 4)
    cards = max(1, tier.gpus_per_replica)
    weights = shape.count * width // cards
    text = f"{_size(shape.count)} to answer" + (f", on {cards} GPUs" if cards > 1 else "")
    fix = "more GPUs for it (teacher.tensor_parallel_size with vllm), or a smaller teacher.model"
    if isinstance(tier, TransformersTeacher):
        return Need(subject, weights + _BESIDE, text, fix)
    longest = tier.engine_kwargs.get("max_model_len", tier.max_model_len)
    if not isinstance(longest, int) or longest <= 0:
        longest = getattr(shape.text, "max_position_embeddings", None) or 0  # vLLM's default
    narrow = "fp8" in str(tier.engine_kwargs.get("kv_cache_dtype", ""))
    cache = _keys_and_values(shape.text, longest, 1 if narrow else width, tier)
    text += f", {_gib(weights)} of weights, {_gib(cache)} of keys and values for one prompt of "
    text += f"{longest:,} tokens"
    return Need(subject, weights + cache + _BESIDE, text, f"a smaller max_model_len, {fix}")


def _keys_and_values(text: Any, longest: int, width: int, tier: VllmTeacher) -> int:
    """Return the bytes of a prompt's keys and values on each of the model's cards.

    A layer with a window keeps that many tokens, one of linear attention none. Each card of
    `tensor_parallel_size` has some of the heads, at least one; a latent (DeepSeek's) it has whole.
    """
    window = getattr(text, "sliding_window", None)
    whole = "sliding_attention" if window else "full_attention"
    kinds = getattr(text, "layer_types", None) or [whole] * text.num_hidden_layers
    short = min(longest, window or longest)
    kept = {"full_attention": longest, "sliding_attention": short, "chunked_attention": short}
    tokens = sum(kept.get(kind, 0) for kind in kinds)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    numbers = 2 * size * max(1, heads // tier.tensor_parallel_size)
    if latent := getattr(text, "kv_lora_rank", None):
        numbers = latent + text.qk_rope_head_dim
    return int(tokens * numbers * width // tier.pipeline_parallel_size)


def _student(student: StudentConfig, num_gpus: float) -> Need | Unknown:
    """Return the need of training or of answering, whichever is more."""
    model = "bundled-student" if student.model == "bundled" else student.model
    shape = _shape(model)
    if isinstance(shape, str):
        return Unknown("student", shape, _fix(model, "student"))
    width = 2 if num_gpus else 4
    parts, method, fixes = _training(student, shape, num_gpus)
    training = sum(parts.values()) + _BESIDE
    text = f"{_size(shape.count)}, {method}"
    if len(parts) > 1:
        text += f", {', '.join(f'{_gib(size)} {name}' for name, size in parts.items())}"
    answering = width * shape.count + _BESIDE
    if training >= answering or "quantization" in getattr(student.engine, "engine_kwargs", {}):
        return Need("student", training, text, ", ".join([*fixes, "or a smaller student.model"]))
    text += f", {_gib(training)} to train; to answer"
    fix = "student.engine={kind: vllm, engine_kwargs: {quantization: fp8}}, or a smaller model"
    return Need("student", answering, text, fix)


def _training(
    student: StudentConfig, shape: _Shape, num_gpus: float
) -> tuple[dict[str, int], str, list[str]]:
    """Return what a worker's training keeps, in bytes by name, its method, and how to keep less."""
    width = 2 if num_gpus else 4
    held = {}
    if student.lora is None:
        states, method, fixes = 16 * shape.count, "full fine-tuning", ["student.lora={rank: 16}"]
        name = "of weights, gradients and optimiser"
    elif student.quantization is None:
        states, method, fixes = width * shape.count, "LoRA", ["student.quantization=4bit"]
        name = "of weights"
    else:
        states = int(_NF4 * shape.linear) + width * (shape.count - shape.linear)
        method, fixes, name = "LoRA on 4 bits", [], "of weights"
    if (shares := _num_shares(student, num_gpus)) > 1:
        method += f" by {shares} workers"
        fixes = ["more student.num_workers", *fixes]
        held[name + " on each"] = states // shares
        held["gathered"] = gathered(shape.count, shape.text, trained=student.lora is None)
    else:
        held[name] = states
    if student.tokens_per_batch != "auto":  # auto takes what is left
        size = student.tokens_per_batch * _activations(student, shape)
        held["of activations"] = size if num_gpus and student.precision != "float32" else 2 * size
        fixes = ["a lower student.tokens_per_batch", *fixes]
        if not student.gradient_checkpointing:
            fixes = ["student.gradient_checkpointing=true", *fixes]
    return held, method, fixes


def _num_shares(student: StudentConfig, num_gpus: float) -> int:
    """Return among how many cards the training's states are shared out.

    Workers without GPUs may be on one machine, whose memory holds all shares.
    """
    if student.parallel != "fsdp" or not num_gpus:
        return 1
    return int(num_gpus) if student.num_workers == "auto" else student.num_workers


def _activations(student: StudentConfig, shape: _Shape) -> int:
    text = shape.text
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    checkpointed = student.gradient_checkpointing
    return activations(text.num_hidden_layers, text.hidden_size, inner, checkpointed=checkpointed)


def _size(count: int) -> str:
    """Write a number of parameters as people say it."""
    for unit, name in ((10**9, "B"), (10**6, "M")):
        if count >= unit:
            return f"{count / unit:.3g} {name} parameters"
    return f"{count / 1000:.3g} K parameters"


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _shape(model: str) -> _Shape | str:
    """Return what a model's config says, or why it cannot be read."""
    try:
        config = AutoConfig.from_pretrained(ModelRef(model).resolve(), trust_remote_code=False)
        with torch.device("meta"):
            made = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        return f"cannot load the model {masked(model)!r}: {masked(reason)}"
    head = made.get_output_embeddings()
    layers = [layer for layer in made.modules() if isinstance(layer, torch.nn.Linear)]
    linear = sum(layer.weight.numel() for layer in layers if layer is not head)
    count = int(sum(parameter.numel() for parameter in made.parameters()))
    return _Shape(count, linear, config.get_text_config())


def _fix(model: str, subject: str) -> str:
    """Return the way out where a model's config cannot be read."""
    if model.startswith((".", "/", "~")) or Path(model).exists():
        return f"give the {subject}'s model as the folder of a causal language model (config.json)"
    return (
        f"check the name; without a network `hf download {masked(model)}` first, or give a folder; "
        "for a gated model accept its terms on the hub and set HF_TOKEN; for a new kind of model "
        "pip install -U transformers"
    )
