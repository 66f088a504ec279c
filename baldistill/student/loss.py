"""Cross entropy of the target tokens, without logits for any other token.

The head sees the positions alone that predict a target, in chunks whose logits are computed again
in the backward pass.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from baldistill.generation.head import TwoParts
from baldistill.student.liger import fused_loss

LOGITS = 2**25  # of a chunk; 128 MiB in float32


class TargetLoss(nn.Module):
    """A causal language model, peft's or plain, whose output is the summed loss of the targets.

    Attributes:
        is_distributed_loading_by_transformers: Tells Trainer to leave a student as it is that
            workers share (`sharding.py`): not to move it, and not to wrap it in DDP. transformers
            5.19 names it for its own way of sharding. Not needed once Trainer sees that it is given
            an FSDPModule.
    """

    is_distributed_loading_by_transformers: bool = False

    def __init__(self, language_model: nn.Module, *, fuse: bool = False) -> None:
        """Wrap a model; `fuse` computes head and loss in Liger's kernel where it fits the model."""
        super().__init__()
        self.language_model = language_model
        self.config = language_model.config
        self.parts = TwoParts(self.causal)
        self._fuse = fuse

    def forward(
        self,
        input_ids: torch.Tensor,
        selected: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Return the sum of the targets' losses.

        Args:
            input_ids: [R, T].
            selected: [N], indices into the R * T positions that predict a target.
            targets: [N].
            weights: [N], a factor of each target's loss; by default 1.
            kwargs: Mask, positions or lengths for the model's attention.
        """
        states = self.parts.states(input_ids=input_ids, **kwargs).flatten(0, 1)[selected]
        if self._fuse and weights is None and (head := self.parts.plain_head) is not None:
            return fused_loss(states, head, targets)
        rows = max(1, LOGITS // self.causal.config.get_text_config().vocab_size)
        if len(targets) <= rows:
            return self._loss(states, targets, weights)
        num_parts = math.ceil(len(targets) / rows)
        factors = [None] * num_parts if weights is None else torch.split(weights, rows)
        losses = [
            checkpoint(self._loss, part, wanted, factor, use_reentrant=False)
            for part, wanted, factor in zip(
                torch.split(states, rows), torch.split(targets, rows), factors, strict=True
            )
        ]
        return torch.stack(losses).sum()

    @property
    def causal(self) -> Any:
        """Return the model without peft's wrapper; adapters are modules inside the model."""
        model: Any = self.language_model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def get_input_embeddings(self) -> nn.Module:
        """Return the model's own (`student.trainer.neftune_noise_alpha` wants them)."""
        return self.causal.get_input_embeddings()  # type: ignore[no-any-return]

    def _loss(
        self, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        logits = self.parts.logits(states).float()
        if weights is None:
            return functional.cross_entropy(logits, targets, reduction="sum")
        return (functional.cross_entropy(logits, targets, reduction="none") * weights).sum()
