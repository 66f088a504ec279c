"""Instruction-following difficulty, from token log-probabilities.

Source: BalDistill (arXiv 2406.13114), section 3, after Li et al. (Cherry LLM, 2308.12032):

    IFD(x, y) = PPL(y | x) / PPL(y) = exp( meanNLL(y | x) - meanNLL(y) )

The published scripts encode the text before the response again to find the response, so their two
perplexities can cover different tokens; and they score every failure as 0. Here both perplexities
cover exactly the same tokens. A response without a score is NaN, which ranks last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

LogProbs: TypeAlias = Sequence[float] | npt.NDArray[np.floating]
"""Natural-log probabilities of a response's tokens, in order; shape (num_tokens,)."""

MIN_TOKENS = 2
"""A response of fewer tokens has no IFD: its one token is often just the end of the text."""


def ifd_batch(
    conditional: Sequence[LogProbs], unconditional: Sequence[LogProbs]
) -> npt.NDArray[np.float64]:
    """Return the IFD of many responses: above 1, the question made the response harder to predict.

    Args:
        conditional: log p(token | question, tokens before) of each response, shape (num_tokens,).
        unconditional: log p(token | tokens before) of the same tokens, without the question.

    Returns:
        The ratios of the perplexities, shape (num_responses,). NaN for a response of fewer than
        two tokens, or with a log-probability that is not finite.

    Raises:
        ValueError: The numbers of responses differ, or the numbers of tokens of one response.
    """
    if len(conditional) != len(unconditional):
        raise ValueError(
            f"{len(conditional)} conditional but {len(unconditional)} unconditional responses"
        )
    lengths = _lengths(conditional)
    differing = np.flatnonzero(lengths != _lengths(unconditional))
    if differing.size:
        row = int(differing[0])
        raise ValueError(
            f"response {row} has {len(conditional[row])} conditional but"
            f" {len(unconditional[row])} unconditional log-probabilities:"
            " both must cover exactly the same tokens"
        )
    with np.errstate(invalid="ignore"):
        difference = _mean_nll(conditional) - _mean_nll(unconditional)
    scored = (lengths >= MIN_TOKENS) & np.isfinite(difference)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(np.where(scored, difference, np.nan)), dtype=np.float64)


def _lengths(responses: Sequence[LogProbs]) -> npt.NDArray[np.int64]:
    return np.fromiter((len(response) for response in responses), np.int64, len(responses))


def _mean_nll(responses: Sequence[LogProbs]) -> npt.NDArray[np.float64]:
    """Return each response's mean negative log-likelihood; NaN for one without tokens."""
    lengths = _lengths(responses)
    means = np.full(len(responses), np.nan)
    filled = np.flatnonzero(lengths)
    if filled.size:
        flat = np.concatenate([np.asarray(responses[row], np.float64) for row in filled])
        starts = np.cumsum(lengths[filled]) - lengths[filled]
        means[filled] = -np.add.reduceat(flat, starts) / lengths[filled]
    return means
