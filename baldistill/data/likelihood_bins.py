"""Domains by how likely a small model finds a question, compared with questions of its length.

Source: Likelihood Splits (Godbole and Jia 2023), length-aware: long questions are less likely, so
each question is ranked among those of about its number of tokens. The bins are quantiles of a
sample: the first holds the most likely questions, the last the least likely.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from baldistill.errors import DataError
from baldistill.storage import Storage

Scorer: TypeAlias = Callable[[Sequence[str]], tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]
"""Returns the number of tokens of each text, and its log-likelihood."""

_MOST_LENGTHS = 10
_ROWS_PER_BIN = 20
"""Rows of the sample, at least, that each bin of each length is made of."""


@dataclass(frozen=True)
class LikelihoodBins:
    """The bounds that decide the bin of a question.

    Attributes:
        names: Of the bins, the most likely questions first.
        lengths: Numbers of tokens at which a group of lengths begins, without the first; ascending.
        bounds: The log-likelihood below which a question is in a later bin; shape (groups of
            lengths, bins - 1), descending in each row.
    """

    names: tuple[str, ...]
    lengths: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.float64]

    def assign(
        self, num_tokens: npt.NDArray[np.int64], log_likelihood: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        """Return the bin of each question."""
        group = np.searchsorted(self.lengths, num_tokens, side="right")
        below: npt.NDArray[np.int64] = (log_likelihood[:, None] < self.bounds[group]).sum(axis=1)
        return below

    def save(self, storage: Storage, name: str) -> None:
        """Write the bounds as a file of plain arrays (npz)."""
        data = io.BytesIO()
        np.savez_compressed(data, lengths=self.lengths, bounds=self.bounds)
        storage.write_bytes(name, data.getvalue())


def fit_bins(
    num_tokens: npt.NDArray[np.int64], log_likelihood: npt.NDArray[np.float64], bins: int
) -> LikelihoodBins:
    """Make bins of equal size of a sample, among questions of about the same length.

    Raises:
        DataError: There are fewer questions than bins.
    """
    if len(num_tokens) < bins:
        raise DataError(
            f"data.domains.bins={bins}: only {len(num_tokens)} different questions were looked at. "
            "To do: ask for fewer bins, or give more rows"
        )
    num_groups = min(_MOST_LENGTHS, max(1, len(num_tokens) // (bins * _ROWS_PER_BIN)))
    inner = np.quantile(num_tokens, np.arange(1, num_groups) / num_groups, method="higher")
    lengths = np.unique(inner.astype(np.int64))
    lengths = lengths[lengths > num_tokens.min()]  # no group is empty
    group = np.searchsorted(lengths, num_tokens, side="right")
    shares = 1 - np.arange(1, bins) / bins
    bounds = [np.quantile(log_likelihood[group == g], shares) for g in range(len(lengths) + 1)]
    digits = len(str(bins))
    names = tuple(f"likelihood-{number:0{digits}d}" for number in range(1, bins + 1))
    return LikelihoodBins(names, lengths, np.stack(bounds))
