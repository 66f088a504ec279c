"""Generation and scoring through vLLM: one engine in this process, fed by many threads at once.

The code that encodes, cuts and decodes prompts serves the transformers engine, too, so both engines
see exactly the same tokens. Log-probabilities are vLLM's `raw_logprobs`: those of the model at
temperature 1, for any sampling.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from vllm import SamplingParams
from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from baldistill.answers.completion import Completion
from baldistill.config.engines import VllmOptions
from baldistill.errors import UserError
from baldistill.generation.encoding import (
    context_token,
    encode_and_cut,
    encode_continuations,
    end_tokens,
    prompt_limit,
)
from baldistill.generation.engine import EngineDiedError, OnEnded, ignore_ended
from baldistill.generation.loading import load_all_but_weights
from baldistill.generation.types import Continuation, ModelRef, Request, Sampling
from baldistill.generation.vllm.patches import reload_weights, shut_down
from baldistill.generation.vllm.start import cannot_start, start_engine
from baldistill.generation.vllm.step_loop import Job, StepLoop

_NOT_OF_THE_MODEL = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "use_cache")


class VllmEngine:
    """A model in this process; `generate` and `score` may be called by many threads."""

    def __init__(
        self,
        options: VllmOptions,
        *,
        lora: str | None = None,
        chat_template: bool = True,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        logprobs: bool = True,
    ) -> None:
        """Choose the options; `load` brings the model.

        Args:
            options: Of the config.
            lora: Hub id, folder or URI of an adapter that answers on top of the model.
            chat_template: Ask through the tokenizer's chat template, where it has one.
            chat_template_kwargs: Its variables.
            logprobs: Return log-probabilities; they cost a tiny model a tenth of its speed.
        """
        self._options = options
        self._lora = lora
        self._chat_template = chat_template
        self._variables = chat_template_kwargs
        self._logprobs = logprobs
        self._engine: Any = None
        self._loop: StepLoop | None = None
        self._adapter: LoRARequest | None = None
        self._shape: object = None
        self._tokenizer: Any = None
        self._ends: set[int] = set()
        # A fast tokenizer is not safe for several threads at once.
        self._tokenizing = threading.Lock()

    def load(self, model: ModelRef) -> None:
        """Load a model; if it has the shape of the last, only its weights are loaded."""
        path = model.resolve()
        tokenizer, config, generation_config = load_all_but_weights(path)
        shape = _shape(tokenizer, config)
        if self._adapter is None and shape == self._shape:
            self._shape = None  # if this fails, the engine holds half of each model
            reload_weights(self._engine, path)
        else:
            self._start(path)
        self._shape = shape
        self._ends = end_tokens(tokenizer, generation_config)
        self._tokenizer = tokenizer
        if not self._chat_template:
            tokenizer.chat_template = None
        try:  # vLLM notices only at the first token that it cannot compute a model
            self.generate([Request("", "")], Sampling(max_new_tokens=1))
        except EngineDiedError as error:
            self._close()
            raise cannot_start(path, error) from None

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> list[Completion]:
        """Answer requests; a row that vLLM refuses becomes an error row with vLLM's reason."""
        # Scoring a response needs a token before it and one after it: keep two for a prompt.
        context = int(self._engine.model_config.max_model_len)
        limit = prompt_limit(context, sampling.max_new_tokens, least=2)
        with self._tokenizing:
            prompts = encode_and_cut(
                self._tokenizer, [request.prompt for request in requests], limit, self._variables
            )
        outputs = self._run(
            [tokens for tokens, _ in prompts],
            [self._params(request, sampling) for request in requests],
            on_ended,
        )
        with self._tokenizing:
            return [
                self._completion(request, len(tokens), truncated, output)
                for request, (tokens, truncated), output in zip(
                    requests, prompts, outputs, strict=True
                )
            ]

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return log-probabilities of texts without context, from prompts of one more token."""
        start = context_token(self._tokenizer)
        return self._score([([start], list(map(int, tokens))) for tokens in token_ids])

    def score_texts(self, rows: Sequence[Continuation]) -> list[np.ndarray]:
        """Return log-probabilities of texts, each behind its prompt."""
        context = int(self._engine.model_config.max_model_len)
        with self._tokenizing:
            pairs = encode_continuations(self._tokenizer, rows, context, self._variables)
        return self._score(pairs)

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[np.ndarray]:
        """Score texts behind other tokens, from prompts of both."""
        prompts = [[*before, *text] for before, text in pairs if text]
        params = [
            SamplingParams(
                max_tokens=1,
                temperature=0.0,
                prompt_logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
                skip_clone=True,
            )
            for _ in prompts
        ]
        outputs = iter(self._run(prompts, params))
        scores = []
        for before, text in pairs:
            output = next(outputs) if text else None
            if isinstance(output, str):
                raise UserError(f"vLLM cannot score a text of {len(text)} tokens: {output}")
            logprobs = output.prompt_logprobs.logprobs if output is not None else ()
            logprobs = logprobs[len(before) - 1 :]  # the first token of a prompt has none
            assert len(logprobs) == len(text)
            scores.append(np.asarray(logprobs, dtype=np.float32))
        return scores

    def _run(
        self,
        prompts: Sequence[list[int]],
        params: Sequence[SamplingParams],
        on_ended: OnEnded = ignore_ended,
    ) -> list[Any]:
        assert self._loop is not None
        rendered = self._engine.renderer.render_cmpl(
            [{"prompt_token_ids": tokens} for tokens in prompts]
        )
        return self._loop.run(
            [Job(*pair, self._adapter) for pair in zip(rendered, params, strict=True)], on_ended
        )

    def _params(self, request: Request, sampling: Sampling) -> SamplingParams:
        structured = None
        if sampling.json_schema is not None:
            structured = StructuredOutputsParams(json=sampling.json_schema)
        return SamplingParams(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
            seed=request.seed if sampling.temperature > 0 else None,
            logprobs=0 if self._logprobs else None,
            flat_logprobs=self._logprobs,
            stop_token_ids=sorted(self._ends),
            structured_outputs=structured,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,  # a deep copy takes half of the time to add a request
        )

    def _completion(
        self, request: Request, prompt_tokens: int, truncated: bool, output: Any
    ) -> Completion:
        if isinstance(output, str):
            return Completion.failed(request.request_id, f"refused by vLLM: {output}")
        (answer,) = output.outputs
        if answer.finish_reason not in ("stop", "length"):
            return Completion.failed(
                request.request_id, f"cut off by vLLM: {answer.finish_reason} {answer.stop_reason}"
            )
        tokens = list(answer.token_ids)
        if tokens and tokens[-1] in self._ends:
            tokens.pop()
        logprobs = answer.logprobs.logprobs[: len(tokens)] if self._logprobs else ()
        return Completion(
            request_id=request.request_id,
            text=self._tokenizer.decode(tokens, skip_special_tokens=True),
            token_ids=np.asarray(tokens, dtype=np.int32),
            logprobs=np.asarray(logprobs, dtype=np.float32),
            prompt_tokens=prompt_tokens,
            finish_reason=answer.finish_reason,
            truncated=truncated,
        )

    def _start(self, path: str) -> None:
        self._close()
        adapter = ModelRef(self._lora).resolve() if self._lora is not None else None
        self._engine = start_engine(path, self._options, adapter)
        self._loop = StepLoop(self._engine)
        self._adapter = LoRARequest("adapter", 1, adapter) if adapter is not None else None

    def _close(self) -> None:
        """Free the last model's engine: two engines need not fit side by side."""
        if self._loop is not None:
            self._loop.close()
            shut_down(self._engine)
        self._loop = self._engine = self._shape = None
        cleanup_dist_env_and_memory()


def _shape(tokenizer: Any, config: Any) -> object:
    """Return what two models must have in common to share an engine."""
    values = {k: v for k, v in config.to_dict().items() if k not in _NOT_OF_THE_MODEL}
    return json.dumps(values, sort_keys=True, default=str), tokenizer.get_vocab()
