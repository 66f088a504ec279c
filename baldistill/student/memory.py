"""Decide how many tokens go through the model at once, by what the GPU's memory holds."""

from __future__ import annotations

from typing import Any

import torch

from baldistill.config import StudentConfig
from baldistill.student.sharding import num_shards

ON_CPU = 1024  # 256 is a sixth slower, 4,096 no faster (docs/measurements.md, Fine-tuning)
MOST = 16_384  # more keeps no GPU busier
_RESERVE = 2**31  # logits of a chunk, CUDA's context, what the allocator cannot use


def tokens_per_batch(model: Any, config: StudentConfig) -> int:
    """Return the token budget of a micro-batch: `student.tokens_per_batch`, or by the memory."""
    if config.tokens_per_batch != "auto":
        return config.tokens_per_batch
    if not torch.cuda.is_available():
        return ON_CPU
    free, _ = torch.cuda.mem_get_info()  # other processes may share the card
    parameters = sum(parameter.numel() for parameter in model.parameters())
    text = model.config.get_text_config()
    shards = num_shards() if config.parallel == "fsdp" else 1
    whole = gathered(parameters, text, trained=config.lora is None) if shards > 1 else 0
    return fitting_tokens(
        free,
        states=_states(model, parameters, config) // shards + whole,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        checkpointed=config.gradient_checkpointing,
    )


def _states(model: Any, parameters: int, config: StudentConfig) -> int:
    """Return the bytes of weights and optimiser that are not on the GPU yet."""
    if config.lora is None:
        return 16 * parameters  # float32 weight, gradient, two moments
    # frozen, and half as much again for the adapter; a base in 4 bits is there already
    weights = [weight for weight in model.parameters() if weight.device.type == "cpu"]
    return 3 * sum(int(weight.nbytes) for weight in weights) // 2


def gathered(parameters: int, text: Any, *, trained: bool) -> int:
    """Return the bytes of what FSDP gathers of a shared student at a time, in 16 bits.

    They are the embeddings, the head and two layers: 2 bytes for each weight, and 4 for its float32
    gradient where it is trained.
    """
    outside = 2 * text.vocab_size * text.hidden_size
    weights = outside + 2 * parameters // text.num_hidden_layers
    return int((6 if trained else 2) * weights)


def fitting_tokens(
    memory: int, *, states: int, layers: int, hidden: int, inner: int, checkpointed: bool
) -> int:
    """Return the tokens whose activations fit beside weights and optimiser (all in bytes).

    Float32 wants twice as much as `activations` says, which the half that is left free covers.
    """
    token = activations(layers, hidden, inner, checkpointed=checkpointed)
    room = (memory - states - _RESERVE) // 2
    return int(min(MOST, max(256, room // token)))


def activations(layers: int, hidden: int, inner: int, *, checkpointed: bool) -> int:
    """Return the bytes that a token's activations take in 16 bits until the backward pass.

    A layer keeps some 34 bytes for each hidden unit of a token and 8 for each unit of the MLP
    (attention that keeps no scores; Korthikanti et al. 2022, arXiv 2205.05198); a checkpointed one
    its input alone, while one layer at a time is computed.
    """
    whole = 34 * hidden + 8 * inner
    return layers * 4 * hidden + whole if checkpointed else layers * whole
