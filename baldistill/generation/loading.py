"""Load a causal language model and its tokenizer, for answering and for training alike."""

from __future__ import annotations

from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from baldistill.errors import UserError


def load_pretrained(
    path: str, dtype: torch.dtype | Literal["auto"], quantization: Any = None
) -> tuple[Any, Any]:
    """Load tokenizer and model, on the CPU, from safetensors; remote code is never run.

    With `auto` the weights have the type in which they were saved. With a `quantization`, one of
    transformers' configs, they are quantised, on the GPU if there is one.

    Raises:
        UserError: There is no such model, or it cannot be used.
    """
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # our own code checks limits and reports them
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            quantization_config=quantization,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise _cannot_load(path, error) from None
    return tokenizer, model


def load_all_but_weights(path: str) -> tuple[Any, Any, Any]:
    """Load tokenizer, config and generation config, for an engine that loads weights itself.

    Raises:
        UserError: There is no such model, or it cannot be used.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise _cannot_load(path, error) from None
    try:
        return tokenizer, config, GenerationConfig.from_pretrained(path)
    except OSError:  # the model has no generation config
        return tokenizer, config, GenerationConfig.from_model_config(config)


def _cannot_load(path: str, error: Exception) -> UserError:
    return UserError(
        f"cannot load the model {path!r}: {error}\nIt must be a Hugging Face hub id, or a "
        "folder with a tokenizer and safetensors weights that every node of the cluster sees"
    )


def context_size(model: Any) -> int:
    """Return the most tokens that prompt and response may have together."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 2**20)
