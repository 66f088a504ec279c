"""What a student needs: memory, by the config of its model alone, and optional packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import LlamaConfig

from baldistill.commands.doctor import _packages
from baldistill.commands.doctor_models import Need, memory_needs
from baldistill.config.loading import load_config


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
    ],
)  # fmt: skip
def test_a_student_of_8b(
    llama_8b: Path, options: tuple[str, ...], gigabytes: float, told: str
) -> None:
    config = load_config(None, [f"student.model={llama_8b}", *options])
    (need,) = memory_needs(config, on_gpu=True)
    assert isinstance(need, Need)
    assert need.total / 1e9 == pytest.approx(gigabytes, abs=0.1)
    assert need.text.startswith(f"8.03 B parameters, {told}")


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_package_of_the_student_that_is_missing_is_a_problem() -> None:
    assert all(one.subject != "student's packages" for one in _packages(load_config()))
    config = load_config(None, ["student.lora={}", "student.quantization=4bit"])
    *_, finding = _packages(config)
    assert (finding.subject, finding.state) == ("student's packages", "problem")
    assert "pip install 'baldistill[qlora]'" in finding.text
