"""Training and decoding of the two bundled models, in plain torch.

The loop is not `baldistill.student.train`: it uses Muon and fresh samples in every round, and the
shipped weights are what it gives. Encoding and padding are the student's own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from baldistill.student.encode import IGNORED

CONTEXT = 1024  # tokens
_WARM_UP = 0.05

Row: TypeAlias = dict[str, list[int]]
"""`input_ids` and `labels` of one training text."""


def collate(rows: Sequence[dict[str, list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Pad a batch on the right: `input_ids`, `attention_mask`, `labels`, each [B, T]."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, value: int) -> torch.Tensor:
        return torch.tensor([[*row[name], *[value] * (width - len(row[name]))] for row in rows])

    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    return {
        "input_ids": padded("input_ids", pad),
        "attention_mask": torch.tensor(mask),
        "labels": padded("labels", IGNORED),
    }


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Shape of a Llama model whose heads have 32 dimensions, as vLLM on a CPU needs."""

    hidden: int
    num_layers: int
    intermediate: int


def new_model(size: ModelSize, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Initialise a small Llama model from a seed."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.hidden // 32,
        num_key_value_heads=size.hidden // 32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.05,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def batches(
    rows: Sequence[Row], batch_size: int, rng: random.Random
) -> Iterator[dict[str, torch.Tensor]]:
    """Group rows of like length and yield the groups, padded by `collate`, in random order."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]["input_ids"]), rng.random()))
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    rng.shuffle(groups)
    for group in groups:
        yield collate([rows[i] for i in group], pad=0)


def _optimizers(
    model: LlamaForCausalLM, learning_rate: float
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Return Muon for the weight matrices and AdamW for the rest, with their peak rates.

    Muon reaches in 30 s the loss for which AdamW alone needs 60 s here.
    """
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and "embed" not in name
        (matrices if is_matrix else others).append(parameter)
    return [
        (
            torch.optim.Muon(
                matrices, learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
            ),
            learning_rate,
        ),
        (torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.01), 0.6 * learning_rate),
    ]


def train(
    model: LlamaForCausalLM,
    draw: Callable[[int], Sequence[Row]],
    *,
    num_rounds: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    label: str,
) -> None:
    """Train on fresh texts in every round, with warm-up and then a linear decay.

    Args:
        model: The model, changed in place.
        draw: Gives the rows of a round, by its number.
        num_rounds: Rounds to train for.
        batch_size: Rows in a batch.
        learning_rate: Peak of the schedule of the weight matrices.
        seed: Of the order of the batches.
        label: Shown with the progress.
    """
    optimizers = _optimizers(model, learning_rate)
    rng = random.Random(seed)
    started, num_tokens = time.monotonic(), 0
    model.train()
    for round_number in range(num_rounds):
        rows = draw(round_number)
        num_steps = -(-len(rows) // batch_size)
        losses = []
        for step, batch in enumerate(batches(rows, batch_size, rng)):
            progress = (round_number + step / num_steps) / num_rounds
            # without a mask: rows are padded on the right, and a token sees only those before it
            loss = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, peak in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = peak * min(1.0, progress / _WARM_UP, 1.05 - progress)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
            num_tokens += batch["input_ids"].numel()
        seconds = time.monotonic() - started
        left = seconds / (round_number + 1) * (num_rounds - round_number - 1)
        print(
            f"{label}: round {round_number + 1}/{num_rounds}, "
            f"loss {sum(losses) / len(losses):.4f}, "
            f"{num_tokens / seconds:,.0f} tokens/s, {left:.0f} s left",
            flush=True,
        )


@torch.inference_mode()
def complete(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 120,
    temperature: float = 0.0,
    batch_size: int = 128,
) -> list[str]:
    """Complete prompts, greedily at temperature 0, in the order given."""
    model.eval()
    encoded = [[tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]] for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    completions = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        group = order[start : start + batch_size]
        width = max(len(encoded[i]) for i in group)
        ids = torch.full((len(group), width), tokenizer.pad_token_id)
        for row, i in enumerate(group):
            ids[row, width - len(encoded[i]) :] = torch.tensor(encoded[i])
        output = model.generate(
            ids,
            attention_mask=(ids != tokenizer.pad_token_id).long(),
            max_new_tokens=max_new_tokens,
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_k=0 if temperature > 0 else None,
        )
        texts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        for i, text in zip(group, texts, strict=True):
            completions[i] = text
    return completions
