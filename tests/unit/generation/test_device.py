"""The device of a process: NVIDIA's GPU, Apple's, else the CPU; in engines and trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from baldistill.config import StudentConfig
from baldistill.generation.device import choose_device, device_here
from baldistill.generation.transformers import TransformersEngine
from baldistill.student.arguments import training_arguments


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_is_chosen(cuda: bool, mps: bool, device: str) -> None:
    assert choose_device(cuda=cuda, mps=mps) == device


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU comes first")
def test_an_apple_gpu_serves_engines_and_trainings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = TransformersEngine()
    assert (engine.device.type, engine.dtype) == ("cpu", torch.float32)
    assert training_arguments(StudentConfig(), 0, tmp_path).use_cpu
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_here() == "mps"
    engine = TransformersEngine()
    assert (engine.device.type, engine.dtype) == ("mps", torch.float32)
    arguments = training_arguments(StudentConfig(), 0, tmp_path)
    assert not arguments.use_cpu
    assert not arguments.bf16
    assert not arguments.dataloader_pin_memory
