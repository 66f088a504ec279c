"""Share a student out among the workers of a training: PyTorch's FSDP2.

Each worker holds a part of every weight, of its gradient and of its optimiser state. A layer is
gathered for the time that it computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from baldistill.student.loss import TargetLoss


def num_shards() -> int:
    """Return among how many workers a student can be shared out: 1 in a training without others."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def shard(
    student: TargetLoss, device: torch.device, dtype: torch.dtype | None, *, in_bfloat16: bool
) -> None:
    """Share out each decoder layer, then what is outside of layers.

    Args:
        student: Whole on this worker. Its parameters are replaced by DTensors.
        device: This worker's, where its shares are.
        dtype: Of the shares; None leaves each as it is.
        in_bfloat16: Gather weights in this type; gradients are summed in float32.
    """
    mesh = init_device_mesh(device.type, (num_shards(),))
    policy = MixedPrecisionPolicy()
    if in_bfloat16:
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    layers = set(student.causal._no_split_modules or ())  # names of classes
    for module in list(student.modules()):
        if type(module).__name__ in layers:
            fully_shard(module.to(dtype), mesh=mesh, mp_policy=policy)
    fully_shard(student.to(dtype), mesh=mesh, mp_policy=policy)
    student.is_distributed_loading_by_transformers = True


def is_sharded(student: torch.nn.Module) -> bool:
    """Return whether workers share the weights."""
    return any(isinstance(weight, DTensor) for weight in student.parameters())


def part_of_this_worker(weight: Any) -> torch.Tensor:
    """Return what this worker holds of a weight: all of it, or its share."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole(weights: Mapping[str, Any], *, keep: bool) -> dict[str, torch.Tensor]:
    """Gather weights on the CPU, one by one; all workers call this, and one keeps the result."""
    found = {}
    for name, weight in weights.items():
        full = weight.full_tensor() if isinstance(weight, DTensor) else weight
        if keep:
            found[name] = full.detach().cpu()
    return found


def most(number: int) -> int:
    """Return the largest number among all workers, which all call this."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = torch.tensor(number, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)
