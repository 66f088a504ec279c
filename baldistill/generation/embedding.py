"""Embeddings of prompts: the last hidden states of a causal model, and its next token.

A vocabulary of 150,000 would make half a megabyte of each prompt's probabilities. So the tokens of
a large one share a few columns, by a hash. Inner products of vectors that sum to 0, such as the
gradient of the loss by the logits, keep their expectation; a divergence of probabilities does not
grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from baldistill.generation.head import TwoParts
from baldistill.generation.types import Embedding

COLUMNS = 1024
"""Of the probabilities; a vocabulary that is no larger has one for each token."""


def embed_or_halve(model: Any, parts: TwoParts, prompts: list[list[int]]) -> list[Embedding]:
    """Embed prompts (tokens, at least one each) in one pass, or in halves if memory is short."""
    try:
        return _embed(model, parts, prompts)
    except torch.OutOfMemoryError:
        if len(prompts) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(prompts) // 2
    halves = prompts[:middle], prompts[middle:]
    return [one for half in halves for one in embed_or_halve(model, parts, half)]


@torch.inference_mode()
def _embed(model: Any, parts: TwoParts, prompts: Sequence[list[int]]) -> list[Embedding]:
    device = model.get_input_embeddings().weight.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt, device=device)
    rows = torch.arange(len(prompts), device=device)
    # The model is causal: padding on the right of a prompt cannot change its states.
    if parts.is_split:
        states = parts.states(input_ids=ids)
        last = states[rows, lengths - 1]
        logits = parts.logits(last)
    else:
        output = model(input_ids=ids, use_cache=False, output_hidden_states=True)
        states = output.hidden_states[-1]
        last = states[rows, lengths - 1]
        logits = output.logits[rows, lengths - 1]
    real = torch.arange(ids.shape[1], device=device)[None] < lengths[:, None]
    mean = (states.float() * real[..., None]).sum(1) / lengths[:, None]
    likely = logits.float().softmax(-1)
    columns = _columns(likely.shape[-1]).to(device)
    shared = torch.zeros(len(prompts), int(columns.max()) + 1, device=device)
    shared.index_add_(1, columns, likely)
    best = columns[likely.argmax(-1)].tolist()
    arrays = (values.float().cpu().numpy() for values in (mean, last, shared))
    return [
        Embedding(one.copy(), other.copy(), probabilities.copy(), number)
        for one, other, probabilities, number in zip(*arrays, best, strict=True)
    ]


def _columns(vocabulary: int) -> torch.Tensor:
    """Return the column of each token."""
    tokens = torch.arange(vocabulary)
    if vocabulary <= COLUMNS:
        return tokens
    hashed = (tokens * 2_654_435_761) % 2**32  # Knuth's multiplicative hash: its upper bits
    return hashed * COLUMNS // 2**32
