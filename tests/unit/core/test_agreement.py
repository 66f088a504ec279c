"""Agreement of two raters: against a count by hand, scikit-learn's kappa, and what must hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.agreement import Agreement, agreement

RATINGS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)


def test_cohens_example() -> None:
    """20 both, 5 and 10 alone, 15 neither: kappa 0.4, the example of many textbooks."""
    found = Agreement(20, 5, 10, 15)
    assert found.accuracy == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)


@given(RATINGS)
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    judge, person = [a for a, _ in pairs], [b for _, b in pairs]
    found = agreement(judge, person)
    assert found.count == len(pairs)
    assert agreement(person, judge).kappa == found.kappa, "nobody is the measure"
    one_label = len({*judge, *person}) < 2
    assert (found.kappa is None) == one_label
    if not one_label:
        from sklearn.metrics import cohen_kappa_score

        assert found.kappa == pytest.approx(cohen_kappa_score(judge, person))
    if pairs:
        assert found.accuracy == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
