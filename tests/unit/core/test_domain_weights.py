"""Weights by domain against the published functions."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.domain_weights import DomainWeights, domain_weight, row_weights

SCHEMES = get_args(DomainWeights)


def test_disco_is_as_published() -> None:
    """w_dom = ln(1 + 1 / p): 0.847 and 2.565 for shares of 3/4 and 1/12."""
    assert domain_weight("disco", 75, 100) == pytest.approx(0.847, abs=5e-4)
    assert domain_weight("disco", 10, 120) == pytest.approx(2.565, abs=5e-4)


def test_class_balanced_is_as_published() -> None:
    """`CB_weight` of the balanced losses, by class, with beta 0.9: (1 - b) / (1 - b^n)."""
    for rows, wanted in ((1, 1.0), (2, 0.1 / 0.19), (10, 0.15354), (1000, 0.1)):
        assert domain_weight("class_balanced", rows, 2000) == pytest.approx(wanted, rel=1e-4)


def test_inverse_and_sqrt() -> None:
    domains = ["a"] * 9 + ["b"]
    assert row_weights(domains, "inverse") == pytest.approx([10 / 18] * 9 + [5.0])
    # 9 of weight 1/3 and one of 1: the mean is 0.4
    assert row_weights(domains, "sqrt") == pytest.approx([1 / 1.2] * 9 + [2.5])
    assert row_weights(domains, "none") is None
    assert row_weights([], "inverse") is None


@given(st.lists(st.sampled_from("abcde"), min_size=1), st.sampled_from(SCHEMES[1:]))
def test_the_mean_is_1_and_smaller_domains_count_more(
    domains: list[str], scheme: DomainWeights
) -> None:
    weights = row_weights(domains, scheme)
    assert weights is not None
    assert math.fsum(weights) / len(weights) == pytest.approx(1)
    of = dict(zip(domains, weights, strict=True))
    ordered = sorted(of, key=domains.count)
    assert all(
        of[a] > of[b] or domains.count(a) == domains.count(b)
        for a, b in itertools.pairwise(ordered)
    )
