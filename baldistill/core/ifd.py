"""Instruction-following difficulty, from token log-probabilities.

Source: BalDistill (arXiv 2406.13114), section 3, after Li et al. (Cherry LLM, 2308.12032):

    IFD(x, y) = PPL(y | x) / PPL(y) = exp( meanNLL(y | x) - meanNLL(y) )

The published scripts find the response by encoding the text before it again, so that their two
perplexities can cover different tokens, and score every failure as 0. Here both cover exactly
the same tokens, and what has no score is NaN, which ranks last.
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


def perplexity(logprobs: LogProbs) -> float:
    """Return exp of the mean negative log-likelihood of the tokens; NaN without tokens.

    Args:
        logprobs: Natural-log probability of each token, shape (num_tokens,).
    """
    (mean_nll,) = _mean_nll([logprobs])
    return float(_exp(mean_nll))


def ifd(conditional: LogProbs, unconditional: LogProbs) -> float:
    """Return the IFD of one response: above 1, the question made it harder to predict.

    Args:
        conditional: log p(token | question, tokens before), shape (num_tokens,).
        unconditional: log p(token | tokens before) without the question, of the same tokens.

    Returns:
        The ratio of the perplexities; NaN for a response of fewer than two tokens or with a
        log-probability that is not finite.

    Raises:
        ValueError: The two lengths differ.
    """
    return float(ifd_batch([conditional], [unconditional])[0])


def ifd_batch(
    conditional: Sequence[LogProbs], unconditional: Sequence[LogProbs]
) -> npt.NDArray[np.float64]:
    """Return the IFD of many responses of any lengths.

    Args:
        conditional: One array of log-probabilities per response, as in `ifd`.
        unconditional: The same tokens' log-probabilities without the question.

    Returns:
        Shape (num_responses,), float64, NaN where `ifd` is NaN.

    Raises:
        ValueError: The numbers of responses, or of the tokens of one of them, differ.
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
    return _exp(np.where(scored, difference, np.nan))


def _lengths(responses: Sequence[LogProbs]) -> npt.NDArray[np.int64]:
    return np.fromiter((len(response) for response in responses), np.int64, len(responses))


def _mean_nll(responses: Sequence[LogProbs]) -> npt.NDArray[np.float64]:
    """Mean negative log-likelihood of each response; NaN for one without tokens."""
    lengths = _lengths(responses)
    means = np.full(len(responses), np.nan)
    filled = np.flatnonzero(lengths)
    if filled.size:
        flat = np.concatenate([np.asarray(responses[row], np.float64) for row in filled])
        starts = np.cumsum(lengths[filled]) - lengths[filled]
        means[filled] = -np.add.reduceat(flat, starts) / lengths[filled]
    return means


def _exp(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(values), dtype=np.float64)
