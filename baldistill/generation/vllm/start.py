"""Start a vLLM engine: its environment, its arguments, and the error where it does not start."""

from __future__ import annotations

import os
from typing import Any

from baldistill.config.engines import VllmOptions
from baldistill.errors import UserError

_CPU_CACHE_BYTES = 2**30  # of keys and values; vLLM's own default is most of the machine
_CPU_STEP_TOKENS = 512  # see `engine_arguments`
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")  # ends of names
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM can be built for


def environment() -> dict[str, str]:
    """Return the variables that vLLM reads when the actor's process imports it.

    The engine runs in the actor's own process (`VLLM_ENABLE_V1_MULTIPROCESSING=0`), on GPUs too.
    Then an error at the start reaches the actor in full, and not the log of another process; a
    killed actor leaves no process that holds the memory; and on a CPU the engine starts in seconds
    instead of a minute. A variable of vLLM's that the user has set wins. Keys are left out, because
    Ray shows the variables of an actor to everybody.
    """
    variables = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    own = {k: v for k, v in os.environ.items() if k.startswith("VLLM_")}
    return variables | {k: v for k, v in own.items() if not k.endswith(_SECRET)}


def start_engine(path: str, options: VllmOptions, adapter: str | None) -> Any:
    """Start a `vllm.v1.engine.llm_engine.LLMEngine` in this process, maybe with a LoRA adapter.

    Raises:
        UserError: With vLLM's reason: the model does not fit, or an option is not for it.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.exceptions import VLLMError
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    from baldistill.generation.vllm.patches import draw_no_token_before_the_prompt_is_read

    lora = {"enable_lora": True, "max_lora_rank": _lora_rank(adapter)} if adapter else {}
    try:
        arguments = lora | engine_arguments(path, options)
        if arguments.get("enforce_eager") and current_platform.is_cpu():
            _compile_nothing()
        engine = LLMEngine.from_engine_args(
            EngineArgs(**arguments), usage_context=UsageContext.LLM_CLASS
        )
        draw_no_token_before_the_prompt_is_read(engine)
        return engine
    except (VLLMError, ValueError, RuntimeError, TypeError, OSError, AssertionError) as error:
        raise cannot_start(path, error) from None


def engine_arguments(path: str, options: VllmOptions) -> dict[str, Any]:
    """Return the arguments of vLLM's engine (or of its class `LLM`); `engine_kwargs` win.

    On a CPU, oneDNN compiles each matrix product anew for each number of tokens in a step, which
    costs 0.4 ms and hundreds of KiB. Steps seldom reach vLLM's own limit of 4,096 tokens, so hardly
    any two have the same number. Steps of 512 are full while there is work, so all are alike.
    """
    from vllm.config import StructuredOutputsConfig
    from vllm.platforms import current_platform

    arguments: dict[str, Any] = {
        "model": path,
        "dtype": options.dtype,
        "tensor_parallel_size": options.tensor_parallel_size,
        "pipeline_parallel_size": options.pipeline_parallel_size,
        "max_model_len": options.max_model_len,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "distributed_executor_backend": _executor(options, current_platform.ray_device_key),
        "disable_log_stats": True,
        "generation_config": "vllm",  # each request says how to write
        # JSON may hold white space anywhere, and small models then write nothing else
        "structured_outputs_config": StructuredOutputsConfig(
            backend="xgrammar", disable_any_whitespace=True
        ),
    }
    if current_platform.is_cpu():
        if options.dtype == "auto":
            arguments["dtype"] = "float32"
        arguments["enforce_eager"] = True  # compiling needs a compiler, and takes minutes
        if _takes_any_step(arguments | options.engine_kwargs):
            step = max(_CPU_STEP_TOKENS, 2 * options.rows_at_once(on_gpu=False))
            arguments["max_num_batched_tokens"] = step
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            arguments["kv_cache_memory_bytes"] = _CPU_CACHE_BYTES
    return arguments | options.engine_kwargs


def _compile_nothing() -> None:
    """Keep torch from compiling the functions that vLLM marks for it whatever `enforce_eager` says.

    They are small parts of the sampler. For each, torch would trace the code and call a C++
    compiler, if there is one: 2.4 s of each start on a CPU, and far more at the first.
    """
    import torch

    torch.compiler.set_stance("force_eager")


def _takes_any_step(arguments: dict[str, Any]) -> bool:
    """Return whether prompts may be cut anywhere: not for hybrid models, and not in pictures."""
    from vllm.engine.arg_utils import EngineArgs

    if not arguments.get("enable_chunked_prefill", True):
        return False
    model = EngineArgs(**arguments).create_model_config()
    any_cut = bool(model.is_chunked_prefill_supported)
    return any_cut and not (model.is_hybrid or model.is_multimodal_model)


def _executor(options: VllmOptions, ray_device: str) -> str:
    """Choose what runs the model: this process, or workers with a GPU each.

    `ray` puts a worker on each bundle of the placement group that this process is in. `mp` takes
    the node's first GPUs, whoever has reserved them, and cannot leave the node. So `mp` is only for
    CPUs, which Ray does not count as devices.
    """
    if options.gpus_per_replica == 1:
        return "uni"
    return "ray" if ray_device else "mp"


def cannot_start(path: str, error: Exception) -> UserError:
    """Make the error for a model that vLLM cannot run."""
    return UserError(
        f"vLLM cannot run {path!r} here: {error}\nIf memory is short, lower max_model_len (or "
        "engine_kwargs.max_num_seqs), raise gpu_memory_utilization (on a CPU "
        "engine_kwargs.kv_cache_memory_bytes), or give it more GPUs with tensor_parallel_size; "
        "the engine `transformers` runs models that vLLM does not support"
    )


def _lora_rank(adapter: str) -> int:
    """Return the smallest rank that vLLM offers and that is not below the adapter's."""
    from peft import PeftConfig

    try:
        rank = int(PeftConfig.from_pretrained(adapter).r)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"teacher.lora: {adapter!r} is no LoRA adapter: {error}") from None
    for possible in _LORA_RANKS:
        if rank <= possible:
            return possible
    raise UserError(f"teacher.lora: vLLM takes ranks up to {_LORA_RANKS[-1]}, this has {rank}")
