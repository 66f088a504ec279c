"""Generation and scoring through transformers: any causal language model, CPU or GPU.

The decoding loop is our own, because `model.generate` lacks three things: the log-probability of
each token without another pass and without keeping logits of shape [T, B, V]; sampling that
depends on the row's own seed and not on its batch; and finished rows that leave the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from baldistill.answers.completion import Completion
from baldistill.generation.encoding import context_token, encode_and_cut, end_tokens, prompt_limit
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.loading import context_size, load_pretrained
from baldistill.generation.types import ModelRef, Request, Sampling

_SCORE_LOGITS = 64 * 2**20  # floats of logits alive at once while scoring: 256 MiB


@dataclass(slots=True)
class _Row:
    """A request while it is being answered."""

    index: int
    prompt: list[int]
    truncated: bool
    uniforms: np.ndarray
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False


class TransformersEngine:
    """A model in this process. Batches are sorted by length, which keeps padding small."""

    def __init__(
        self,
        dtype: str = "auto",
        device: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose precision and device; `load` brings the model.

        By default, `dtype` is bfloat16 on a GPU and float32 on a CPU; `device` is the first GPU,
        else the CPU.
        """
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if dtype == "auto":
            dtype = "bfloat16" if self.device.type == "cuda" else "float32"
        self.dtype = getattr(torch, dtype)
        self._variables = chat_template_kwargs
        self._model: Any = None
        self._tokenizer: Any = None

    def load(self, model: ModelRef) -> None:
        """Load a model in place of the model before."""
        self._model = self._tokenizer = None  # two models need not fit side by side
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._tokenizer, loaded = load_pretrained(model.resolve(), self.dtype)
        self._model = loaded.to(self.device).eval()

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> list[Completion]:
        """Answer a batch; halve a batch that the GPU's memory does not hold."""
        limit = prompt_limit(context_size(self._model), sampling.max_new_tokens)
        prompts = [request.prompt for request in requests]
        fitted = encode_and_cut(self._tokenizer, prompts, limit, self._variables)
        rows = []
        for index, (request, (prompt, truncated)) in enumerate(zip(requests, fitted, strict=True)):
            uniforms = np.empty(0)
            if sampling.temperature > 0:
                uniforms = np.random.Generator(np.random.Philox(request.seed)).random(
                    sampling.max_new_tokens
                )
            rows.append(_Row(index, prompt, truncated, uniforms))
        if rows:
            self._decode_or_halve(sorted(rows, key=lambda row: len(row.prompt)), sampling, on_ended)
        return [self._completion(requests[row.index], row) for row in rows]

    @torch.inference_mode()
    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return log-probabilities of texts without context, by one pass per batch."""
        start = context_token(self._tokenizer)
        order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
        scores: list[np.ndarray] = [np.empty(0, np.float32)] * len(token_ids)
        vocabulary = self._model.config.get_text_config().vocab_size
        for batch in _batches(order, token_ids, vocabulary):
            width = max(len(token_ids[i]) for i in batch)
            if width == 0:
                continue
            inputs = torch.full((len(batch), width), start, dtype=torch.long)
            targets = torch.zeros((len(batch), width), dtype=torch.long)
            for row, i in enumerate(batch):
                tokens = torch.as_tensor(np.asarray(token_ids[i], dtype=np.int64))
                inputs[row, 1 : len(tokens)] = tokens[:-1]
                targets[row, : len(tokens)] = tokens
            # The model is causal: padding on the right of a text cannot change its scores.
            logits = self._model(input_ids=inputs.to(self.device), use_cache=False).logits.float()
            chosen = logits.gather(-1, targets.to(self.device)[..., None])[..., 0]
            chosen = (chosen - logits.logsumexp(-1)).cpu().numpy()
            for row, i in enumerate(batch):
                scores[i] = chosen[row, : len(token_ids[i])].astype(np.float32)
        return scores

    def _decode_or_halve(self, rows: list[_Row], sampling: Sampling, on_ended: OnEnded) -> None:
        try:
            self._decode(rows, sampling, on_ended)
            return
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
        torch.cuda.empty_cache()
        on_ended(-sum(row.finished for row in rows))
        for row in rows:
            row.tokens, row.logprobs, row.finished = [], [], False
        middle = len(rows) // 2
        self._decode_or_halve(rows[:middle], sampling, on_ended)
        self._decode_or_halve(rows[middle:], sampling, on_ended)

    @torch.inference_mode()
    def _decode(self, rows: list[_Row], sampling: Sampling, on_ended: OnEnded) -> None:
        ends = end_tokens(self._tokenizer, self._model.generation_config)
        width = max(len(row.prompt) for row in rows)
        inputs = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            inputs[i, width - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[i, width - len(row.prompt) :] = 1
        inputs, mask = inputs.to(self.device), mask.to(self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        active = list(rows)
        for step in range(sampling.max_new_tokens):
            logits = self._model(
                input_ids=inputs,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            logprobs = torch.log_softmax(logits.float(), dim=-1)
            chosen = self._choose(logprobs, active, step, sampling)
            values = logprobs.gather(-1, chosen[:, None])[:, 0].tolist()
            for row, token, value in zip(active, chosen.tolist(), values, strict=True):
                row.finished = token in ends
                if not row.finished:
                    row.tokens.append(token)
                    row.logprobs.append(value)
            keep = [i for i, row in enumerate(active) if not row.finished]
            if not keep:
                break
            if len(keep) < len(active):
                on_ended(len(active) - len(keep))
                places = torch.tensor(keep, device=self.device)
                cache.batch_select_indices(places)
                mask, positions, chosen = mask[places], positions[places], chosen[places]
                active = [active[i] for i in keep]
            inputs = chosen[:, None]
            mask = torch.cat([mask, mask.new_ones((len(active), 1))], dim=-1)
            positions = positions[:, -1:] + 1

    def _choose(
        self, logprobs: torch.Tensor, rows: list[_Row], step: int, sampling: Sampling
    ) -> torch.Tensor:
        """Choose the next token of each row, shape [B]: the best, or sampled by inverse CDF."""
        if sampling.temperature == 0:
            return logprobs.argmax(-1)
        ordered, ids = (logprobs / sampling.temperature).softmax(-1).sort(-1, descending=True)
        cumulative = ordered.double().cumsum(-1)
        if sampling.top_p < 1:  # keep the smallest set of best tokens that holds top_p
            allowed = (cumulative - ordered.double()) < sampling.top_p
            cumulative = (ordered.double() * allowed).cumsum(-1)
        uniform = torch.tensor([row.uniforms[step] for row in rows], device=self.device)
        threshold = (uniform * cumulative[:, -1])[:, None]
        choice = torch.searchsorted(cumulative, threshold, right=True).clamp(max=ids.shape[-1] - 1)
        return ids.gather(-1, choice)[:, 0]

    def _completion(self, request: Request, row: _Row) -> Completion:
        return Completion(
            request_id=request.request_id,
            text=self._tokenizer.decode(row.tokens, skip_special_tokens=True),
            token_ids=np.asarray(row.tokens, dtype=np.int32),
            logprobs=np.asarray(row.logprobs, dtype=np.float32),
            prompt_tokens=len(row.prompt),
            finish_reason="stop" if row.finished else "length",
            truncated=row.truncated,
        )


def _batches(
    order: Sequence[int], token_ids: Sequence[np.ndarray], vocabulary: int
) -> list[list[int]]:
    """Split rows, sorted by length, so that the logits of a batch stay under a fixed size."""
    batches: list[list[int]] = []
    for i in order:
        width = max(len(token_ids[i]), 1)
        if batches and (len(batches[-1]) + 1) * width * vocabulary <= _SCORE_LOGITS:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
