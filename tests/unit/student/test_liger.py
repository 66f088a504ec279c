"""Liger's kernels. They need a GPU; Triton's interpreter runs that of the loss on a CPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from baldistill.bundled import model_dir
from baldistill.config import StudentConfig
from baldistill.errors import ConfigError, MissingPackageError
from baldistill.student.encode import Lesson
from baldistill.student.train import train

HAS_PACKAGE = importlib.util.find_spec("liger_kernel") is not None
CONFIG = StudentConfig(epochs=1, batch_size=4, trainer={"use_liger_kernel": True})

LOSSES = """
import torch
from transformers import AutoModelForCausalLM
from baldistill.bundled import model_dir
from baldistill.student.loss import TargetLoss

def loss_and_gradient(fuse):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(model_dir("student"), dtype=torch.float32)
    loss = TargetLoss(model, fuse=fuse)
    ids = torch.arange(5, 37).reshape(2, 16)
    targets = torch.arange(40, 50)
    value = loss(ids, torch.arange(10), targets)
    value.backward()
    return value, model.get_input_embeddings().weight.grad

(one, gradient), (other, fused) = loss_and_gradient(False), loss_and_gradient(True)
assert torch.allclose(one, other, rtol=1e-5), (one, other)
assert (gradient - fused).abs().max() < 1e-4 * gradient.abs().max()
print("equal")
"""


def test_kernels_that_cannot_run_are_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("they can run here")
    error, match = (ConfigError, "need a GPU") if HAS_PACKAGE else (
        MissingPackageError, r"pip install 'baldistill\[liger\]'"
    )  # fmt: skip
    with pytest.raises(error, match=match):
        train([Lesson("1", "2")], init=str(model_dir("student")), output=tmp_path, config=CONFIG,
              seed=0)  # fmt: skip


def test_shared_students_have_no_fused_kernels() -> None:
    with pytest.raises(ValueError, match=r"fsdp and trainer\.use_liger_kernel exclude each other"):
        StudentConfig(parallel="fsdp", trainer={"use_liger_kernel": True})


@pytest.mark.skipif(not HAS_PACKAGE, reason="Liger is not installed")
def test_the_fused_loss_is_ours() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOSSES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr
