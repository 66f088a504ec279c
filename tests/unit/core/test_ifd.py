import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.ifd import ifd_batch

PAIRS = st.lists(
    st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), max_size=12), max_size=12
)


def perplexity(logprobs) -> float:
    return math.exp(-np.mean(logprobs))


def ifd(conditional, unconditional) -> float:
    return float(ifd_batch([conditional], [unconditional])[0])


def test_by_hand():
    half, quarter = math.log(0.5), math.log(0.25)
    assert ifd([half, half], [quarter, quarter]) == pytest.approx(0.5)  # the question helps
    assert ifd([half, quarter], [half, quarter]) == pytest.approx(1)
    assert ifd([half, quarter, half], [half, half, half]) == pytest.approx(2 ** (1 / 3))


def test_it_is_the_ratio_of_perplexities_not_of_losses():
    rng = np.random.default_rng(0)
    with_question, without = -rng.exponential(size=(2, 30))
    expected = perplexity(with_question) / perplexity(without)
    assert ifd(with_question, without) == pytest.approx(expected)


@pytest.mark.parametrize("logprobs", [[], [-1.0]])
def test_short_responses_have_no_score(logprobs):
    assert math.isnan(ifd(logprobs, logprobs))


@pytest.mark.parametrize("bad", [-math.inf, math.nan])
def test_what_is_not_finite_has_no_score(bad):
    assert math.isnan(ifd([-1.0, bad], [-1.0, -2.0]))
    assert math.isnan(ifd([-1.0, bad], [-1.0, bad]))


def test_different_tokens_are_a_mistake():
    with pytest.raises(ValueError, match="response 1 has 2 conditional but 3"):
        ifd_batch([[-1.0], [-1.0, -2.0]], [[-1.0], [-1.0, -2.0, -3.0]])
    with pytest.raises(ValueError, match="1 conditional but 2"):
        ifd_batch([[-1.0]], [[-1.0], [-1.0]])


@given(PAIRS)
def test_the_batch_equals_one_by_one(responses):
    conditional = [[pair[0] for pair in response] for response in responses]
    unconditional = [[pair[1] for pair in response] for response in responses]
    together = ifd_batch(conditional, unconditional)
    assert together.shape == (len(responses),)
    alone = [ifd(*pair) for pair in zip(conditional, unconditional, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    for score, response in zip(alone, responses, strict=True):
        assert math.isnan(score) == (len(response) < 2)
