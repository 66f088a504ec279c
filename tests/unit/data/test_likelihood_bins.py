"""Bins by likelihood: of equal size among questions of one length, and in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.data.likelihood_bins import fit_bins
from baldistill.errors import DataError


def test_bins_are_equal_at_every_length_and_the_first_is_the_most_likely() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(5, 25, 4000)
    likely = -3.0 * tokens + draw.normal(0, 1, 4000)  # longer questions are less likely
    model = fit_bins(tokens, likely, 4)
    assert model.names == tuple(f"likelihood-{number}" for number in range(1, 5))
    found = model.assign(tokens, likely)
    assert np.bincount(found).tolist() == pytest.approx([1000] * 4, abs=10)
    lengths = [tokens[found == number].mean() for number in range(4)]
    assert max(lengths) - min(lengths) < 2  # without the lengths: 15
    assert likely[found == 0].mean() > likely[found == 3].mean() + 1


FIGURES = st.lists(st.tuples(st.integers(0, 40), st.floats(-200, 0)), min_size=2, max_size=80)


@given(FIGURES, st.integers(2, 12))
def test_less_likely_is_never_an_earlier_bin_and_the_order_does_not_matter(
    figures: list[tuple[int, float]], bins: int
) -> None:
    tokens, likely = (np.array(column) for column in zip(*figures, strict=True))
    if len(figures) < bins:
        with pytest.raises(DataError, match=f"bins={bins}: only {len(figures)} different"):
            fit_bins(tokens, likely, bins)
        return
    model = fit_bins(tokens, likely, bins)
    found = model.assign(tokens, likely)
    assert ((found >= 0) & (found < bins)).all()
    for length in set(tokens.tolist()):
        order = np.argsort(-likely[tokens == length], kind="stable")
        assert (np.diff(found[tokens == length][order]) >= 0).all()
    mixed = np.random.default_rng(len(figures)).permutation(len(figures))
    again = fit_bins(tokens[mixed], likely[mixed], bins)
    np.testing.assert_array_equal(again.assign(tokens, likely), found)
