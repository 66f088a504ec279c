"""Engines on the bundled models, and a model whose tokenizer has no bos token."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from baldistill.bundled import DOMAINS, make_example, model_dir
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef


@pytest.fixture(scope="session")
def questions() -> list[str]:
    """Prompts of different lengths, two of each domain."""
    rng = random.Random(0)
    examples = [make_example(domain, rng) for domain in DOMAINS for _ in range(2)]
    return [f"Question: {example.question}\n" for example in examples]


@pytest.fixture(scope="session")
def engine() -> TransformersEngine:
    """The bundled teacher: its answers differ in length."""
    engine = TransformersEngine()
    engine.load(ModelRef("bundled-teacher"))
    return engine


@pytest.fixture(scope="session")
def model(engine: TransformersEngine) -> Any:
    """The same weights in transformers' own hands."""
    return engine._model


@pytest.fixture(scope="session")
def tokenizer(engine: TransformersEngine) -> Any:
    return engine._tokenizer


def save_variant(
    folder: Path, *, bos: str | None = None, chat_template: str | None = None, **config: Any
) -> Path:
    """A tiny random model with the bundled pieces, and special tokens as wanted."""
    bundled = PreTrainedTokenizerFast.from_pretrained(model_dir("teacher"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bundled.backend_tokenizer, bos_token=bos, eos_token="<eos>"
    )
    tokenizer.chat_template = chat_template
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(bundled),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.5,
        **config,
    }
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
