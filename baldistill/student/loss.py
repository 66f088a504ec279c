"""Cross entropy of the target tokens, without logits for any other token.

Logits of a whole batch are often the largest tensor of a training: 4,096 tokens with a vocabulary
of 150,000 are 2.3 GiB, several times. Here the head sees the positions alone that predict a target,
in chunks whose logits are computed again in the backward pass.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

LOGITS = 2**25  # of a chunk; 128 MiB in float32
_UNUSUAL = (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)


class TargetLoss(nn.Module):
    """A causal language model, peft's or plain, whose output is the summed loss of the targets.

    The model is run as its decoder and its head where a short pass shows that this gives the
    model's own logits; else its own forward is run.
    """

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model
        self.config = language_model.config
        self.in_two_parts = self._gives_its_own_logits()

    def forward(
        self, input_ids: torch.Tensor, selected: torch.Tensor, targets: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """Return the sum of the targets' losses.

        Args:
            input_ids: [R, T].
            selected: [N], indices into the R * T positions that predict a target.
            targets: [N].
            kwargs: Mask, positions or lengths for the model's attention.
        """
        if not self.in_two_parts:
            logits = self.causal(input_ids=input_ids, use_cache=False, **kwargs).logits
            return _cross_entropy(logits.flatten(0, 1)[selected], targets)
        hidden = self.causal.get_decoder()(input_ids=input_ids, use_cache=False, **kwargs)[0]
        hidden = hidden.flatten(0, 1)[selected]
        rows = max(1, LOGITS // self.causal.get_output_embeddings().weight.shape[0])
        if len(targets) <= rows:
            return self._loss(hidden, targets)
        losses = [
            checkpoint(self._loss, part, wanted, use_reentrant=False)
            for part, wanted in zip(
                torch.split(hidden, rows), torch.split(targets, rows), strict=True
            )
        ]
        return torch.stack(losses).sum()

    @property
    def causal(self) -> Any:
        """The model without peft's wrapper; adapters are modules within."""
        model: Any = self.language_model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def get_input_embeddings(self) -> nn.Module:
        """Return the model's own (`student.trainer.neftune_noise_alpha` wants them)."""
        return self.causal.get_input_embeddings()  # type: ignore[no-any-return]

    def _loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _cross_entropy(self._logits(hidden), targets)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The head and what some architectures do to its output: Cohere, Granite, Gemma."""
        config = self.causal.config.get_text_config()
        logits: torch.Tensor = self.causal.get_output_embeddings()(hidden)
        if (scale := getattr(config, "logit_scale", None)) is not None:
            logits = logits * scale
        if (divisor := getattr(config, "logits_scaling", None)) is not None:
            logits = logits / divisor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.no_grad()
    def _gives_its_own_logits(self) -> bool:
        model = self.causal
        training, _ = model.training, model.eval()
        try:
            ids = _some_tokens(model, 8)
            own = model(input_ids=ids, use_cache=False).logits
            ours = self._logits(model.get_decoder()(input_ids=ids, use_cache=False)[0])
            return ours.shape == own.shape and _alike(ours, own)
        except _UNUSUAL:  # whatever this architecture lacks, its own forward has
            return False
        finally:
            model.train(training)


@torch.no_grad()
def keeps_examples_apart(model: Any, *, packed: bool) -> bool:
    """Whether rows may travel packed, or (`packed=False`) right-padded without a mask.

    Models with a state that runs along the row, such as Mamba's, mix what is packed.
    """
    training, _ = model.training, model.eval()
    try:
        ids = _some_tokens(model, 12)
        first, second = ids[:, :7], ids[:, 7:]
        alone = [model(input_ids=one, use_cache=False).logits[0] for one in (first, second)]
        if packed:
            positions = torch.tensor([[*range(7), *range(5)]], device=ids.device)
            row = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
            return _alike(row, torch.cat(alone))
        filled = torch.cat([second, ids[:, :2]], dim=1)
        rows = model(input_ids=torch.cat([first, filled]), use_cache=False).logits
        return _alike(torch.cat([rows[0], rows[1, :5]]), torch.cat(alone))
    except _UNUSUAL:
        return False
    finally:
        model.train(training)


def _some_tokens(model: Any, number: int) -> torch.Tensor:
    size = model.get_input_embeddings().weight.shape[0]
    tokens = itertools.islice(itertools.cycle(range(1, min(size, 97))), number)
    return torch.tensor([list(tokens)], device=model.get_input_embeddings().weight.device)


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    one, other = one.float(), other.float()
    tolerance = 2e-2 if other.abs().max() == 0 else 2e-2 * float(other.abs().max())
    return bool((one - other).abs().max() <= tolerance)


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="sum")
