"""Embeddings equal plain one-by-one forward passes, whatever the batch and the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from baldistill.generation.embedding import COLUMNS, _columns, embed_or_halve
from baldistill.generation.encoding import encode_prompt
from baldistill.generation.engine import Embedder
from baldistill.generation.head import TwoParts
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import Message, ModelRef
from tests.unit.generation.conftest import save_variant


def plain(model: Any, tokens: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
    states = output.hidden_states[-1][0]
    likely = output.logits[0, -1].double().softmax(-1)
    return states.mean(0).numpy(), states[-1].numpy(), likely.numpy()


def test_a_batch_of_prompts_is_embedded_as_each_by_itself(
    engine: TransformersEngine, model: Any, tokenizer: Any, questions: list[str]
) -> None:
    assert isinstance(engine, Embedder)
    chat = (Message("user", questions[0]), Message("assistant", "A"), Message("user", "B"))
    prompts = [*questions, chat]
    found = engine.embed(prompts)
    assert len({len(encode_prompt(tokenizer, prompt)) for prompt in prompts}) > 5
    for prompt, one in zip(prompts, found, strict=True):
        mean, last, likely = plain(model, encode_prompt(tokenizer, prompt))
        np.testing.assert_allclose(one.mean, mean, atol=1e-4)
        np.testing.assert_allclose(one.last, last, atol=1e-4)
        columns = _columns(len(likely)).numpy()
        shared = np.bincount(columns, weights=likely)
        np.testing.assert_allclose(one.probabilities, shared, atol=1e-5)
        assert one.likeliest == columns[likely.argmax()]
    assert engine.embed([]) == []


def test_a_model_that_cannot_be_split_gives_the_same(
    engine: TransformersEngine, model: Any, tokenizer: Any, questions: list[str]
) -> None:
    rows = [encode_prompt(tokenizer, question) for question in questions[:4]]
    whole = TwoParts(model)
    assert whole.is_split
    split = embed_or_halve(model, whole, rows)
    whole.is_split = False
    for one, other in zip(split, embed_or_halve(model, whole, rows), strict=True):
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-5)
        np.testing.assert_allclose(one.last, other.last, atol=1e-5)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_a_prompt_beyond_the_context_keeps_its_end(tmp_path: Path) -> None:
    engine = TransformersEngine()
    engine.load(ModelRef(str(save_variant(tmp_path, max_position_embeddings=16))))
    text = "one two three " * 20
    (cut,), (longer,) = engine.embed([text]), engine.embed([f"four five {text}"])
    np.testing.assert_allclose(cut.mean, longer.mean, atol=1e-6)


def test_a_large_vocabulary_shares_columns_evenly() -> None:
    columns = _columns(150_000).numpy()
    sizes = np.bincount(columns, minlength=COLUMNS)
    assert len(sizes) == COLUMNS
    assert 100 < sizes.min() <= sizes.max() < 200
    # vectors that sum to 0, as the gradient by the logits, keep their inner products
    generator = np.random.default_rng(0)
    first = generator.dirichlet(np.full(150_000, 0.001)) - np.eye(1, 150_000, 5)[0]
    other = generator.dirichlet(np.full(150_000, 0.001)) - np.eye(1, 150_000, 5)[0]
    shared = [np.bincount(columns, weights=one) for one in (first, other)]
    np.testing.assert_allclose(shared[0] @ shared[1], first @ other, rtol=0.1)
