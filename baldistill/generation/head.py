"""A causal language model in two parts, so that logits exist only where somebody wants them.

Logits of a whole batch are often its largest tensor: 4,096 tokens with a vocabulary of 150,000 are
2.3 GiB. Training wants those of the targets, scoring a part at a time.
"""

from __future__ import annotations

from typing import Any

import torch

_CHANGES = ("logit_scale", "logits_scaling", "final_logit_softcapping")  # of a head's output
_UNUSUAL = (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)


class TwoParts:
    """Decoder and head, where a short pass shows that together they give the model's own logits.

    Of a model of which they do not, `states` gives the logits, and `logits` leaves them.

    Attributes:
        is_split: Whether logits are made of states.
    """

    def __init__(self, model: Any) -> None:
        """Try the parts of a model, which stays as it is."""
        self._model = model
        self.is_split = self._gives_its_own_logits()

    def states(self, **inputs: Any) -> torch.Tensor:
        """Return what `logits` takes for each token; shape [R, T, hidden or vocabulary]."""
        if self.is_split:
            return self._model.get_decoder()(use_cache=False, **inputs)[0]  # type: ignore[no-any-return]
        return self._model(use_cache=False, **inputs).logits  # type: ignore[no-any-return]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return the logits of some tokens; shape [..., vocabulary]."""
        return self._head(states) if self.is_split else states

    @property
    def plain_head(self) -> torch.nn.Linear | None:
        """Return the head if it is a linear layer whose output the model does not change."""
        config, head = self._model.config.get_text_config(), self._model.get_output_embeddings()
        changed = any(getattr(config, name, None) for name in _CHANGES)
        return head if self.is_split and type(head) is torch.nn.Linear and not changed else None

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        """Apply the head and what some architectures do to its output: Cohere, Granite, Gemma."""
        config = self._model.config.get_text_config()
        logits: torch.Tensor = self._model.get_output_embeddings()(states)
        if (scale := getattr(config, "logit_scale", None)) is not None:
            logits = logits * scale
        if (divisor := getattr(config, "logits_scaling", None)) is not None:
            logits = logits / divisor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.no_grad()
    def _gives_its_own_logits(self) -> bool:
        model = self._model
        training, _ = model.training, model.eval()
        try:
            ids = some_tokens(model, 8)
            own = model(input_ids=ids, use_cache=False).logits
            ours = self._head(model.get_decoder()(input_ids=ids, use_cache=False)[0])
            return ours.shape == own.shape and alike(ours, own)
        except _UNUSUAL:  # whatever this architecture lacks, its own forward has
            return False
        finally:
            model.train(training)


@torch.no_grad()
def keeps_examples_apart(model: Any, *, packed: bool) -> bool:
    """Return whether rows may travel packed, or (`packed=False`) right-padded without a mask.

    Models with a state that runs along the row, such as Mamba's, mix what is packed.
    """
    training, _ = model.training, model.eval()
    try:
        ids = some_tokens(model, 12)
        first, second = ids[:, :7], ids[:, 7:]
        alone = [model(input_ids=one, use_cache=False).logits[0] for one in (first, second)]
        if packed:
            positions = torch.tensor([[*range(7), *range(5)]], device=ids.device)
            row = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
            return alike(row, torch.cat(alone))
        filled = torch.cat([second, ids[:, :2]], dim=1)
        rows = model(input_ids=torch.cat([first, filled]), use_cache=False).logits
        return alike(torch.cat([rows[0], rows[1, :5]]), torch.cat(alone))
    except _UNUSUAL:
        return False
    finally:
        model.train(training)


def some_tokens(model: Any, number: int) -> torch.Tensor:
    """Return tokens that any vocabulary has, on the model's device; shape [1, number]."""
    weight = model.get_input_embeddings().weight
    size = min(weight.shape[0], 97) - 1
    ids: torch.Tensor = torch.arange(number, device=weight.device) % size + 1
    return ids[None]


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether tensors differ by no more than half precision rounds."""
    one, other = one.float(), other.float()
    largest = float(other.abs().max())
    return bool((one - other).abs().max() <= 2e-2 * (largest or 1.0))
