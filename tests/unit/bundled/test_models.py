"""The bundled teacher and student as they lie in the package."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from baldistill.bundled import model_dir
from baldistill.bundled.paths import ModelName


def _load(name: ModelName) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(model_dir(name))


@pytest.mark.parametrize(("name", "num_parameters"), [("teacher", 557_952), ("student", 233_952)])
def test_models_load_in_float32(name: ModelName, num_parameters: int) -> None:
    model = _load(name)
    assert model.num_parameters() == num_parameters
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.head_dim == 32
    assert model.config.max_position_embeddings == 1024
    assert model.config.tie_word_embeddings


def test_models_are_small_on_disk() -> None:
    files = [f for name in ("teacher", "student") for f in Path(model_dir(name)).rglob("*")]  # type: ignore[arg-type]
    assert sum(file.stat().st_size for file in files) < 3_000_000
