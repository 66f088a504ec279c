"""Decide which device a process computes on."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

Device: TypeAlias = Literal["cuda", "mps", "cpu"]


def choose_device(*, cuda: bool, mps: bool) -> Device:
    """Return the device to use where these are available: NVIDIA's first, then Apple's."""
    if cuda:
        return "cuda"
    return "mps" if mps else "cpu"


def device_here() -> Device:
    """Return the device of this process. Ray shows a process no GPU that it did not reserve."""
    return choose_device(cuda=torch.cuda.is_available(), mps=torch.backends.mps.is_available())
