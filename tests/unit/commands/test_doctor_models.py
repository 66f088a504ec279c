"""What a student needs: memory, by the config of its model alone, and optional packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import LlamaConfig

from baldistill.commands.doctor import _packages
from baldistill.commands.doctor_models import Need, memory_needs
from baldistill.config.loading import load_config

FSDP = ("student.parallel=fsdp",)


@pytest.fixture(scope="module")
def llama_8b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("options", "gigabytes", "told"),
    [
        ((), 130.6, "full fine-tuning"),
        (("student.lora={rank: 16}",), 18.2, "LoRA"),
        # to train 5.7 GB and the same 2 GiB
        (("student.lora={}", "student.quantization=4bit"), 18.2, "LoRA on 4 bits, 7.3 GiB to tra"),
        (
            ("student.lora={}", "student.quantization=4bit",
             "student.engine={kind: vllm, engine_kwargs: {quantization: fp8}}"),
            7.8, "LoRA on 4 bits",
        ),
        # an eighth of 128.5 GB, 3.1 GB of gathered weights and the same 2 GiB
        ((*FSDP, "student.num_workers=8"), 21.3, "full fine-tuning by 8 workers, 15.0 GiB of"),
        (FSDP, 37.4, "full fine-tuning by 4 workers"),
        (
            (*FSDP, "student.num_workers=8", "student.tokens_per_batch=4096",
             "student.gradient_checkpointing=true"),
            24.5, "full fine-tuning by 8 workers, 15.0 GiB of weights, gradients and optimiser on "
            "each, 2.9 GiB gathered, 3.0 GiB of activations",
        ),
        (("student.lora={}", "student.tokens_per_batch=4096"), 51.5, "LoRA, 15.0 GiB of weights,"),
        # a shared base is a whole one again when it answers
        ((*FSDP, "student.num_workers=8", "student.lora={}"), 18.2, "LoRA by 8 workers"),
    ],
)  # fmt: skip
def test_a_student_of_8b(
    llama_8b: Path, options: tuple[str, ...], gigabytes: float, told: str
) -> None:
    config = load_config(None, [f"student.model={llama_8b}", *options])
    (need,) = memory_needs(config, num_gpus=4)
    assert isinstance(need, Need)
    assert need.total / 1e9 == pytest.approx(gigabytes, abs=0.1)
    assert need.text.startswith(f"8.03 B parameters, {told}")


def test_workers_without_gpus_share_the_memory_of_a_machine(llama_8b: Path) -> None:
    options = [f"student.model={llama_8b}", *FSDP, "student.num_workers=8"]
    (need,) = memory_needs(load_config(None, options), num_gpus=0)
    assert isinstance(need, Need)
    assert need.total / 1e9 == pytest.approx(130.6, abs=0.1)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_package_of_the_student_that_is_missing_is_a_problem() -> None:
    assert all(one.subject != "student's packages" for one in _packages(load_config()))
    config = load_config(None, ["student.lora={}", "student.quantization=4bit"])
    *_, finding = _packages(config)
    assert (finding.subject, finding.state) == ("student's packages", "problem")
    assert "pip install 'baldistill[qlora]'" in finding.text
