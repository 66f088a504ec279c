"""Compute how likely a causal language model finds a text, in the process that asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from baldistill.generation.loading import load_all_but_weights
from baldistill.generation.special_tokens import encode_texts
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef

_MOST_TOKENS = 512


@dataclass(frozen=True, slots=True)
class TextLikelihood:
    """Scores texts under a model, each for itself.

    The same text has the same score whatever stands beside it: in a batch, the last digits differ.
    """

    model: str
    """Hub id, path or URI; `bundled` is the student inside the package."""

    def check(self) -> None:
        """Look whether the model is there.

        Raises:
            UserError: It is not, or cannot be used.
        """
        load_all_but_weights(self._ref.resolve())

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return the number of tokens and the log-likelihood of each text, of its beginning."""
        engine, tokenizer, limit = _loaded(self._ref)
        tokens = [np.array(ids[:limit], np.int32) for ids in encode_texts(tokenizer, list(texts))]
        likely = [float(engine.score([ids])[0].sum(dtype=np.float64)) for ids in tokens]
        return np.array([len(ids) for ids in tokens], np.int64), np.array(likely, np.float64)

    @property
    def _ref(self) -> ModelRef:
        return ModelRef("bundled-student" if self.model == "bundled" else self.model)


@lru_cache(maxsize=1)
def _loaded(model: ModelRef) -> tuple[TransformersEngine, Any, int]:
    """Load the model once in a process; return engine, tokenizer and the tokens that it reads."""
    tokenizer, config, _ = load_all_but_weights(model.resolve())
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    engine = TransformersEngine()
    engine.load(model)
    return engine, tokenizer, min(_MOST_TOKENS, context or _MOST_TOKENS)
