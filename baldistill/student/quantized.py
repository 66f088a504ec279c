"""A base in 4 bits, on which adapters are trained: QLoRA (Dettmers et al. 2023, arXiv 2305.14314).

Its linear layers are in nf4, whose scales are quantised again; embeddings and head stay as they
are. The saved student is what was trained: the 4-bit weights, as numbers of the base's own type,
plus the adapter's update. Adding that update to the weights from before would give another model.
"""

from __future__ import annotations

from typing import Any

import torch

from baldistill.generation.loading import load_pretrained
from baldistill.student.packages import require_bitsandbytes


def load_quantized(path: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load tokenizer and model, on the GPU if there is one; layers compute in `dtype`.

    Raises:
        UserError: There is no such model, it cannot be used, or bitsandbytes is missing.
    """
    require_bitsandbytes()
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    tokenizer, model = load_pretrained(path, dtype, quantization)
    for layer in model.modules():
        # On a CPU, bitsandbytes 0.50 packs weights for answering, after which they cannot train.
        if _is_quantized(layer):
            layer.support_avx512bf16_for_cpu = False
    return tokenizer, model


def merged_with_adapter(student: Any, path: str, dtype: torch.dtype) -> Any:
    """Return the student of peft as a plain model, on the CPU; each weight is rounded once.

    Args:
        student: An adapter on the base of `load_quantized`.
        path: The base.
        dtype: Of the result.
    """
    _, plain = load_pretrained(path, dtype)
    with torch.no_grad():
        for name, module in student.get_base_model().named_modules():
            if hasattr(module, "get_delta_weight"):  # a layer with an adapter
                weight = _as_numbers(module.get_base_layer())
                weight = weight + module.get_delta_weight(student.active_adapter).float()
            elif _is_quantized(module) and not name.endswith(".base_layer"):
                weight = _as_numbers(module)
            else:
                continue
            plain.get_submodule(name).weight.copy_(weight)
    return plain


def _is_quantized(layer: Any) -> bool:
    return getattr(getattr(layer, "weight", None), "quant_state", None) is not None


def _as_numbers(layer: Any) -> torch.Tensor:
    """Return the weight of a layer in float32."""
    weight = layer.weight
    if not _is_quantized(layer):
        return weight.float()  # type: ignore[no-any-return]
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state).float()  # type: ignore[no-any-return]
