"""Estimate the memory that the models of a config need, by arithmetic (docs/students.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from baldistill.config import Config
from baldistill.generation.types import ModelRef
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
    if config.judge is not None and number == len(config.models_asked):
        return "judge"
    if number > len(config.teacher.tiers):
        return "verifier"
    return "teacher" if len(config.teacher.tiers) == 1 else f"teacher {number}"


def _student(config: Config, *, on_gpu: bool) -> Need | tuple[str, str]:
    student = config.student
    model = "bundled-student" if student.model == "bundled" else student.model
    found = _weights(model)
    if isinstance(found, str):
        return "student", found
    count, linear = found
    if student.lora is None:
        fix = "student.lora={rank: 16}, or a smaller student.model"
        return Need("student", 16 * count + _BESIDE, f"{_size(count)}, full fine-tuning", fix)
    answering = (2 if on_gpu else 4) * count
    if student.quantization is None:
        fix = "student.quantization=4bit, or a smaller student.model"
        return Need("student", answering + _BESIDE, f"{_size(count)}, LoRA", fix)
    training = int(_NF4 * linear) + (2 if on_gpu else 4) * (count - linear)
    text, fix = f"{_size(count)}, LoRA on 4 bits", "a smaller student.model"
    if "quantization" in getattr(student.engine, "engine_kwargs", {}):
        return Need("student", training + _BESIDE, text, fix)
    text += f", {(training + _BESIDE) / 2**30:,.1f} GiB to train; to answer"
    fix = "student.engine={kind: vllm, engine_kwargs: {quantization: fp8}}, or a smaller model"
    return Need("student", answering + _BESIDE, text, fix)


def _size(count: int) -> str:
    """Write a number of parameters as people say it."""
    for unit, name in ((10**9, "B"), (10**6, "M")):
        if count >= unit:
            return f"{count / unit:.3g} {name} parameters"
    return f"{count / 1000:.3g} K parameters"


def _parameters(model: str) -> int | str:
    """Return the number of a model's parameters, or why its config cannot be read."""
    found = _weights(model)
    return found if isinstance(found, str) else found[0]


def _weights(model: str) -> tuple[int, int] | str:
    """Return how many parameters a model has, and how many of them are in linear layers.

    The head is not counted among those: it stays as it is where the layers are quantised. Where
    the model's config cannot be read, return why.
    """
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
    return int(sum(parameter.numel() for parameter in made.parameters())), linear
