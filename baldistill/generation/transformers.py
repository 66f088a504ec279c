"""Generation and scoring through transformers: any causal language model, CPU or GPU.

The decoding loop (`decoding`) is our own, because `model.generate` lacks three things: the
log-probability of each token without another pass and without keeping logits of shape [T, B, V];
sampling that depends on the row's own seed and not on its batch; and finished rows that leave the
batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from baldistill.answers.completion import Completion
from baldistill.generation.decoding import Row, decode
from baldistill.generation.device import device_here
from baldistill.generation.embedding import embed_or_halve
from baldistill.generation.encoding import (
    context_token,
    encode_and_cut,
    encode_continuations,
    end_tokens,
    prompt_limit,
)
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.head import TwoParts
from baldistill.generation.loading import context_size, load_pretrained
from baldistill.generation.types import (
    Continuation,
    Embedding,
    ModelRef,
    Prompt,
    Request,
    Sampling,
)

_SCORE_LOGITS = 16 * 2**20  # floats of logits alive at once while scoring: 64 MiB
_SCORE_TOKENS = {"cuda": 65_536}  # of a scoring pass, with padding; elsewhere 8,192
_Pair: TypeAlias = tuple[list[int], np.ndarray]  # tokens before a text, and the text's
_MEMORY_SHARE = 0.7  # of a GPU's free memory that a batch may take by our estimate


class TransformersEngine:
    """A model in this process. Batches are sorted by length, which keeps padding small."""

    def __init__(
        self,
        dtype: str = "auto",
        device: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose precision and device; `load` brings the model.

        By default, `dtype` is bfloat16 with CUDA and float32 otherwise; `device` is the first GPU,
        else the CPU.
        """
        self.device = torch.device(device or device_here())
        if dtype == "auto":
            dtype = "bfloat16" if self.device.type == "cuda" else "float32"
        self.dtype = getattr(torch, dtype)
        self._variables = chat_template_kwargs
        self._model: Any = None
        self._tokenizer: Any = None
        self._parts: TwoParts | None = None

    def load(self, model: ModelRef) -> None:
        """Load a model in place of the model before."""
        self._model = self._tokenizer = None  # two models need not fit side by side
        self._parts = None
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
            empty = np.empty(0, np.int32), np.empty(0, np.float32)
            rows.append(Row(index, prompt, truncated, uniforms, *empty))
        ordered = sorted(rows, key=lambda row: len(row.prompt))
        while ordered:
            size = self._rows_in_memory(ordered, sampling)
            batch, ordered = ordered[-size:], ordered[:-size]
            told = self._decode_or_halve(batch, sampling, on_ended)
            if ordered:  # the call goes on
                on_ended(len(batch) - told)
        return [self._completion(requests[row.index], row) for row in rows]

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return log-probabilities of texts without context, by one pass per batch."""
        before = [context_token(self._tokenizer)]
        return self._score_all([(before, tokens) for tokens in token_ids])

    def score_texts(self, rows: Sequence[Continuation]) -> list[np.ndarray]:
        """Return log-probabilities of texts, each behind its prompt, by one pass per batch."""
        context = context_size(self._model)
        pairs = encode_continuations(self._tokenizer, rows, context, self._variables)
        return self._score_all([(before, np.array(text, np.int32)) for before, text in pairs])

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """Return the embeddings of prompts, by one pass per batch."""
        limit = context_size(self._model)
        fitted = encode_and_cut(self._tokenizer, prompts, limit, self._variables)
        rows = [tokens for tokens, _ in fitted]
        lengths = [len(tokens) for tokens in rows]
        found: dict[int, Embedding] = {}
        order = sorted(range(len(rows)), key=lambda i: lengths[i])
        if self._parts is None:
            self._parts = TwoParts(self._model)
        for batch in _batches(order, lengths, _SCORE_TOKENS.get(self.device.type, 8_192)):
            embedded = embed_or_halve(self._model, self._parts, [rows[i] for i in batch])
            found.update(zip(batch, embedded, strict=True))
        return [found[i] for i in range(len(rows))]

    @torch.inference_mode()
    def _score_all(self, pairs: Sequence[_Pair]) -> list[np.ndarray]:
        lengths = [len(before) + len(text) for before, text in pairs]
        scores: list[np.ndarray] = [np.empty(0, np.float32)] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda i: lengths[i])
        order = [i for i in order if len(pairs[i][1])]
        for batch in _batches(order, lengths, _SCORE_TOKENS.get(self.device.type, 8_192)):
            found = self._score_or_halve([pairs[i] for i in batch])
            for i, values in zip(batch, found, strict=True):
                scores[i] = values
        return scores

    def _score_or_halve(self, pairs: list[_Pair]) -> list[np.ndarray]:
        try:
            return self._score(pairs)
        except torch.OutOfMemoryError:
            if len(pairs) == 1:
                raise
        torch.cuda.empty_cache()
        middle = len(pairs) // 2
        return self._score_or_halve(pairs[:middle]) + self._score_or_halve(pairs[middle:])

    def _score(self, pairs: list[_Pair]) -> list[np.ndarray]:
        """Score texts in one pass; logits exist for a part of their tokens at a time."""
        lengths = np.array([len(text) for _, text in pairs])
        width = max(len(before) + len(text) - 1 for before, text in pairs)
        inputs = np.full((len(pairs), width), context_token(self._tokenizer))
        predicts = np.zeros(inputs.shape, dtype=bool)
        for row, ahead, (before, text) in zip(inputs, predicts, pairs, strict=True):
            whole = len(before) + len(text) - 1
            row[: len(before)], row[len(before) : whole] = before, text[:-1]
            ahead[len(before) - 1 : whole] = True
        # The model is causal: padding on the right of a text cannot change its scores.
        real = torch.from_numpy(predicts).to(self.device)
        texts = [text for _, text in pairs]
        targets = torch.from_numpy(np.concatenate(texts).astype(np.int64)).to(self.device)
        ids = torch.from_numpy(inputs.astype(np.int64)).to(self.device)
        if self._parts is None:
            self._parts = TwoParts(self._model)
        wanted_states = self._parts.states(input_ids=ids)[real]
        size = max(1, _SCORE_LOGITS // self._model.config.get_text_config().vocab_size)
        parts = []
        for states, wanted in zip(
            torch.split(wanted_states, size), torch.split(targets, size), strict=True
        ):
            logits = self._parts.logits(states).float()
            chosen = logits.gather(-1, wanted[:, None])[:, 0]
            parts.append(chosen - logits.logsumexp(-1))
        values = torch.cat(parts).cpu().numpy()
        return np.split(values, lengths.cumsum()[:-1])

    def _rows_in_memory(self, rows: Sequence[Row], sampling: Sampling) -> int:
        """Return how many of the rows, longest last, the GPU's free memory holds at once."""
        if self.device.type != "cuda":
            return len(rows)
        config, size = self._model.config.get_text_config(), self.dtype.itemsize
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        prompt = len(rows[-1].prompt)
        # All layers' keys and values, and one layer's for every query head.
        cache = 2 * head_dim * size * (config.num_hidden_layers * kv_heads + 2 * heads)
        bytes_per_row = cache * (prompt + sampling.max_new_tokens)
        bytes_per_row += prompt * size * (8 * config.hidden_size + 3 * wide)
        bytes_per_row += config.vocab_size * (16 if sampling.temperature == 0 else 64)
        free = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)
        free -= torch.cuda.memory_allocated(self.device)
        return max(1, min(len(rows), int(_MEMORY_SHARE * free / bytes_per_row)))

    def _decode_or_halve(self, rows: list[Row], sampling: Sampling, on_ended: OnEnded) -> int:
        """Answer rows; return how many of them were reported as ended."""
        told: list[int] = []

        def tell(number: int) -> None:
            told.append(number)
            on_ended(number)

        ends = end_tokens(self._tokenizer, self._model.generation_config)
        try:
            decode(self._model, rows, ends, sampling, tell)
            return sum(told)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
        torch.cuda.empty_cache()
        on_ended(-sum(told))
        middle = len(rows) // 2
        halves = rows[:middle], rows[middle:]
        return sum(self._decode_or_halve(half, sampling, on_ended) for half in halves)

    def _completion(self, request: Request, row: Row) -> Completion:
        return Completion(
            request_id=request.request_id,
            text=self._tokenizer.decode(row.tokens, skip_special_tokens=True),
            token_ids=row.tokens,
            logprobs=row.logprobs,
            prompt_tokens=len(row.prompt),
            finish_reason="stop" if row.finished else "length",
            truncated=row.truncated,
        )


def _batches(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Split rows, sorted by length, so that a batch has at most `budget` tokens with padding."""
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[i] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
