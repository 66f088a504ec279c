"""Adapters on a base in 4 bits. What needs bitsandbytes is left out where it is not installed."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from baldistill.bundled import DOMAINS, make_example, model_dir
from baldistill.config import StudentConfig
from baldistill.config.student import LoraConfig
from baldistill.errors import MissingPackageError
from baldistill.student import train as training
from baldistill.student.encode import Lesson, encode_examples
from baldistill.student.loss import TargetLoss
from baldistill.student.packages import check_packages
from baldistill.student.quantized import load_quantized, merged_with_adapter

STUDENT = str(model_dir("student"))
RNG = random.Random(0)
MADE = [make_example(RNG.choice(DOMAINS), RNG) for _ in range(16)]
LESSONS = [
    Lesson(f"Question: {made.question}\n", f"{made.rationale}\nAnswer: {made.answer}")
    for made in MADE
]
HAS_PACKAGE = importlib.util.find_spec("bitsandbytes") is not None
needs_package = pytest.mark.skipif(not HAS_PACKAGE, reason="bitsandbytes is not installed")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def config(**values: Any) -> StudentConfig:
    options = {"epochs": 1, "batch_size": 16, "lora": {"rank": 4}, "quantization": "4bit"}
    return StudentConfig.model_validate(options | values)


def loss_of(model: Any) -> float:
    """Mean loss of all targets."""
    rows = encode_examples(LESSONS, AutoTokenizer.from_pretrained(STUDENT), 1024).rows
    (batch,) = training.collate(rows, pad=0, budget=100_000)["micro_batches"]
    with torch.inference_mode():
        return float(TargetLoss(model).eval()(**batch)) / len(batch["targets"])


def test_a_base_in_4_bits_wants_adapters_and_whole_copies() -> None:
    with pytest.raises(ValueError, match=r"quantization=4bit freezes the base: set student\.lora"):
        config(lora=None)
    with pytest.raises(ValueError, match="parallel=fsdp and quantization=4bit exclude each other"):
        config(parallel="fsdp")
    assert "quantization" not in StudentConfig().model_dump(), "earlier folders go on"


@pytest.mark.skipif(HAS_PACKAGE, reason="bitsandbytes is installed")
def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    check_packages(config(quantization=None))
    with pytest.raises(MissingPackageError, match=r"pip install 'baldistill\[qlora\]'"):
        check_packages(config())
    with pytest.raises(MissingPackageError, match=r"pip install 'baldistill\[qlora\]'"):
        training.train(LESSONS, init=STUDENT, output=tmp_path, config=config(), seed=0)


@needs_package
def test_the_saved_student_is_the_one_in_4_bits(tmp_path: Path) -> None:
    """One step that changes nothing: its loss is that of the quantised base, and of the student."""
    base = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(STUDENT).save_pretrained(tmp_path / "base")
    options = config(learning_rate=1e-12, lora={"rank": 4, "keep": True})
    output = tmp_path / "student"
    result = training.train(
        LESSONS, init=str(tmp_path / "base"), output=output, config=options, seed=0
    )
    weights = load_file(output / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert (output / "adapter" / "adapter_model.safetensors").is_file()
    student = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)
    assert abs(loss_of(base.float()) - result.loss) > 0.1, "4 bits are another model"
    assert loss_of(student) == pytest.approx(result.loss, rel=5e-3)  # rounded to bfloat16


@needs_package
@pytest.mark.parametrize("modules", ["all-linear", ("q_proj", "up_proj")])
def test_the_update_is_added_to_what_was_trained(modules: Any) -> None:
    _, base = load_quantized(STUDENT, torch.float32)
    student = training._with_adapter(base, LoraConfig(rank=4, target_modules=modules))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)
    ids = torch.arange(5, 40)[None]
    with torch.inference_mode():
        trained = student(input_ids=ids).logits
        merged = merged_with_adapter(student, STUDENT, torch.float32)(input_ids=ids).logits
    assert (trained - merged).abs().max() < 1e-3 * trained.abs().max()


@needs_package
def test_training_in_4_bits_lowers_the_loss(tmp_path: Path) -> None:
    options = config(learning_rate=3e-3, epochs=8, batch_size=8, gradient_checkpointing=True)
    result = training.train(LESSONS, init=STUDENT, output=tmp_path, config=options, seed=0)
    assert result.losses[-1][1] < 0.6 * result.losses[0][1]
    student = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert loss_of(student) < 1.2 * result.losses[-1][1]
