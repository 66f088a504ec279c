"""How much memory the models of a config need, by arithmetic (docs/students.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from baldistill.config import Config
from baldistill.generation.types import ModelRef
from baldistill.uris import masked

_BESIDE = 2 * 2**30  # a chunk's logits, CUDA's context, what the allocator cannot use
_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Need:
    """The memory that a model needs on each device, in bytes, and how to need less."""

    subject: str
    total: int
    text: str
    fix: str


def memory_needs(config: Config, *, on_gpu: bool) -> Iterator[Need | tuple[str, str]]:
    """Yield what student and local teachers need, or the subject and why that is unknown."""
    yield _student(config, on_gpu=on_gpu)
    for number, tier in enumerate(config.models_asked, start=1):
        if tier.kind not in ("transformers", "vllm") or tier.model == "bundled":
            continue
        subject = subject_of(config, number)
        count = _parameters(tier.model)
        if isinstance(count, str):
            yield subject, count
            continue
        width = _WIDTH.get(tier.dtype, 2 if on_gpu else 4)
        cards = getattr(tier, "tensor_parallel_size", 1) * getattr(
            tier, "pipeline_parallel_size", 1
        )
        text = f"{_size(count)} to answer" + (f", on {cards} GPUs" if cards > 1 else "")
        fix = (
            "more GPUs for it (teacher.tensor_parallel_size with vllm), or a smaller teacher.model"
        )
        yield Need(subject, count * width // cards + _BESIDE, text, fix)


def subject_of(config: Config, number: int) -> str:
    """Name one of `config.models_asked`, from 1."""
    if number > len(config.teacher.tiers):
        return "verifier"
    return "teacher" if len(config.teacher.tiers) == 1 else f"teacher {number}"


def _student(config: Config, *, on_gpu: bool) -> Need | tuple[str, str]:
    model = config.student.model
    count = _parameters("bundled-student" if model == "bundled" else model)
    if isinstance(count, str):
        return "student", count
    if config.student.lora is None:
        fix = "student.lora={rank: 16}, or a smaller student.model"
        return Need("student", 16 * count + _BESIDE, f"{_size(count)}, full fine-tuning", fix)
    width = 2 if on_gpu else 4
    text = f"{_size(count)}, LoRA"
    return Need("student", width * count + _BESIDE, text, "a smaller student.model")


def _size(count: int) -> str:
    """Write a number of parameters as people say it."""
    for unit, name in ((10**9, "B"), (10**6, "M")):
        if count >= unit:
            return f"{count / unit:.3g} {name} parameters"
    return f"{count / 1000:.3g} K parameters"


def _parameters(model: str) -> int | str:
    """Return the number of a model's parameters from its config, or why it cannot be read."""
    try:
        config = AutoConfig.from_pretrained(ModelRef(model).resolve(), trust_remote_code=False)
        with torch.device("meta"):
            made = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        return f"cannot load the model {masked(model)!r}: {masked(reason)}"
    return int(sum(parameter.numel() for parameter in made.parameters()))
