"""The decoding loop of the transformers engine.

On a GPU the host only launches kernels: tokens, log-probabilities and end flags stay on the device
until the last step. Every few steps the host reads flags that were copied some steps before, so
it never waits for the step that it has just launched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from baldistill.generation.engine import OnEnded
from baldistill.generation.types import Sampling

_GPU_LOOK = 8  # steps between two looks at the end flags on a GPU
_COMPACT = 8  # ended rows leave the batch when they are at least one row in so many


@dataclass(slots=True)
class Row:
    """A request while it is being answered."""

    index: int
    prompt: list[int]
    truncated: bool
    uniforms: np.ndarray
    tokens: np.ndarray
    logprobs: np.ndarray
    finished: bool = False


class _PresizedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values in buffers of full length: a step writes one place instead of copying all."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self._buffers = (self._buffer(key_states), self._buffer(value_states))
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        keys, values = self._buffers
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        end = self.get_seq_length()
        self._buffers = (
            self._buffer(self.keys, indices),
            self._buffer(self.values, indices),
        )
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)

    def _buffer(self, states: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return a buffer of full length; with `rows`, it begins with these rows of `states`."""
        num_rows = len(states) if rows is None else len(rows)
        buffer = states.new_empty((num_rows, states.shape[1], self._capacity, states.shape[3]))
        if rows is not None:
            buffer[:, :, : states.shape[2]] = states.index_select(0, rows)
        return buffer


class _Flags:
    """End flags, copied to the host without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._every = _GPU_LOOK if self._on_gpu else 1
        self._copy: torch.Tensor | None = None
        self._copied: Any = None

    def look(self, step: int, flags: torch.Tensor) -> np.ndarray | None:
        """Return the flags of this step, on a GPU those of the look before; None between looks."""
        if not self._on_gpu:
            return flags.numpy()
        if (step + 1) % self._every:
            return None
        found = None
        if self._copy is not None:
            self._copied.synchronize()
            found = self._copy.numpy().copy()
        self._copy = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        self._copy.copy_(flags, non_blocking=True)
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._copied.record()
        return found

    def forget(self) -> None:
        """Drop a copy that is under way: rows have left the batch."""
        self._copy = None


@torch.inference_mode()
def decode(
    model: Any, rows: Sequence[Row], ends: Collection[int], sampling: Sampling, on_ended: OnEnded
) -> None:
    """Answer rows of similar length together; fill their tokens and log-probabilities."""
    device, steps = model.device, sampling.max_new_tokens
    inputs, mask = _left_padded(rows, steps)
    width = inputs.shape[1]
    padded = bool((mask == 0).any())
    inputs, mask = inputs.to(device), mask.to(device)
    positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)
    bias = _additive(mask, model) if padded else None
    uniforms = None
    if sampling.temperature > 0:
        uniforms = torch.from_numpy(np.stack([row.uniforms for row in rows])).to(device)
    cache = _presized_cache(model, width + steps)
    places = torch.arange(len(rows), device=device)
    stops = torch.tensor(sorted(ends), dtype=torch.long, device=device)
    tokens = torch.zeros((len(rows), steps), dtype=torch.long, device=device)
    values = torch.zeros((len(rows), steps), device=device)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
    flags, reported = _Flags(device), 0
    for step in range(steps):
        seen: torch.Tensor | None = None
        if bias is not None and step > 0:
            seen = bias[..., : width + step]
        elif padded:
            seen = mask[:, : width + step]
        logprobs = _next_logprobs(model, inputs, seen, positions, cache)
        drawn = None if uniforms is None else uniforms[:, step]
        chosen = _choose(logprobs, drawn, sampling)
        tokens[places, step] = chosen
        values[places, step] = logprobs.gather(-1, chosen[:, None])[:, 0]
        ended |= torch.isin(chosen, stops)
        inputs, positions = chosen[:, None], positions[:, -1:] + 1
        known = flags.look(step, ended)
        if known is None:
            continue
        num_ended = int(known.sum())
        if num_ended == len(known):
            break
        if num_ended > reported:
            on_ended(num_ended - reported)
            reported = num_ended
        if num_ended * _COMPACT >= len(known) and step + 1 < steps:
            keep = torch.from_numpy(np.flatnonzero(~known)).to(device)
            cache.batch_select_indices(keep)
            places, inputs, positions = places[keep], inputs[keep], positions[keep]
            mask, ended = mask[keep], ended[keep]
            bias = None if bias is None else bias[keep]
            uniforms = None if uniforms is None else uniforms[keep]
            flags.forget()
            reported = 0
    _collect(rows, tokens.cpu().numpy(), values.cpu().numpy(), ends)


def _next_logprobs(
    model: Any, inputs: torch.Tensor, seen: torch.Tensor | None, positions: torch.Tensor, cache: Any
) -> torch.Tensor:
    """Return the log-probabilities of each row's next token; shape [rows, vocabulary]."""
    logits = model(
        input_ids=inputs,
        attention_mask=seen,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return torch.log_softmax(logits.float(), dim=-1)


def _collect(
    rows: Sequence[Row], tokens: np.ndarray, values: np.ndarray, ends: Collection[int]
) -> None:
    """Give each row its tokens before the first end token."""
    stopped = np.isin(tokens, sorted(ends))
    for row, ids, logprobs, stop in zip(rows, tokens, values, stopped, strict=True):
        row.finished = bool(stop.any())
        length = int(stop.argmax()) if row.finished else len(ids)
        row.tokens = ids[:length].astype(np.int32)
        row.logprobs = logprobs[:length].astype(np.float32)


def _left_padded(rows: Sequence[Row], steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts, shape [B, T], and their mask with room for the answers, [B, T + steps]."""
    width = max(len(row.prompt) for row in rows)
    inputs = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.ones((len(rows), width + steps), dtype=np.int64)
    for i, row in enumerate(rows):
        inputs[i, width - len(row.prompt) :] = row.prompt
        mask[i, : width - len(row.prompt)] = 0
    return torch.from_numpy(inputs), torch.from_numpy(mask)


def _additive(mask: torch.Tensor, model: Any) -> torch.Tensor | None:
    """Return the mask as the bias of one query, shape [B, 1, 1, T]; None if the model has others.

    With a bias, transformers makes no mask of its own in each step, for which it would read the
    mask on the host.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if config._attn_implementation not in ("sdpa", "eager") or kinds - {"full_attention"}:
        return None
    if not kinds and getattr(config, "sliding_window", None):
        return None
    bias = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device)
    return bias.masked_fill_(mask == 0, torch.finfo(model.dtype).min)[:, None, None]


def _presized_cache(model: Any, capacity: int) -> DynamicCache:
    """Return a cache whose plain layers do not grow; sliding windows stay as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [
        _PresizedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def _choose(
    logprobs: torch.Tensor, uniforms: torch.Tensor | None, sampling: Sampling
) -> torch.Tensor:
    """Choose the next token of each row, shape [B]: the best, or sampled by inverse CDF."""
    if uniforms is None:
        return logprobs.argmax(-1)
    ordered, ids = (logprobs / sampling.temperature).softmax(-1).sort(-1, descending=True)
    cumulative = ordered.double().cumsum(-1)
    if sampling.top_p < 1:  # keep the smallest set of best tokens that holds top_p
        allowed = (cumulative - ordered.double()) < sampling.top_p
        cumulative = (ordered.double() * allowed).cumsum(-1)
    threshold = (uniforms * cumulative[:, -1])[:, None]
    choice = torch.searchsorted(cumulative, threshold, right=True).clamp(max=ids.shape[-1] - 1)
    return ids.gather(-1, choice)[:, 0]
