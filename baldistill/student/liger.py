"""Liger's fused kernels in a training on a GPU (Hsu et al. 2024, arXiv 2410.10989).

Norms, rotary positions and MLPs take less memory and time; head and cross entropy become one kernel
(`loss.py`), which never holds the logits of a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from baldistill.errors import ConfigError
from baldistill.student.packages import require_liger

_OF_THE_LOSS = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def use_liger(model: Any, options: Mapping[str, Any]) -> None:
    """Replace layers of a model, in place.

    Args:
        model: A causal language model without adapters.
        options: `student.trainer.liger_kernel_config`: kernels by Liger's names, on or off.

    Raises:
        MissingPackageError: Liger is not installed.
        ConfigError: There is no GPU, or Liger has no kernels for the model.
    """
    require_liger()
    if not torch.cuda.is_available():
        raise ConfigError("student.trainer.use_liger_kernel: its kernels need a GPU: leave it out")
    from liger_kernel.transformers.monkey_patch import (
        MODEL_TYPE_TO_APPLY_LIGER_FN,
        _apply_liger_kernel_to_instance,
    )

    kind = model.config.model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ConfigError(
            f"student.trainer.use_liger_kernel: Liger has no kernels for {kind}: leave it out"
        )
    _apply_liger_kernel_to_instance(model, **{**options, **_OF_THE_LOSS})


def fused_loss(states: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """Return the summed cross entropy of targets, by head and loss in one kernel.

    Args:
        states: [N, hidden].
        head: To the vocabulary.
        targets: [N].
    """
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    if torch.is_autocast_enabled(states.device.type):  # the kernel wants one type
        states = states.to(torch.get_autocast_dtype(states.device.type))
    weight = head.weight.to(states.dtype)
    bias = None if head.bias is None else head.bias.to(states.dtype)
    return liger_fused_linear_cross_entropy(  # type: ignore[no-any-return]
        states, weight, targets, bias, reduction="sum"
    )
