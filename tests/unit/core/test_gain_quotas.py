"""The whole path of `gain`, from what is known before a stage to quotas, against its definition."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.budget import quotas
from baldistill.core.policies import Aim, Asked, Gain, MeasuredGain

NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])
COUNTS = st.dictionaries(NAMES, st.integers(0, 2000), min_size=1).filter(
    lambda counts: any(counts.values())
)
ANSWERS = st.dictionaries(
    NAMES, st.integers(0, 40).flatmap(lambda n: st.builds(Asked, st.just(n), st.integers(0, n)))
)
OBJECTIVES: dict[float | Aim, float] = {
    "natural": 0.0, "macro": 1.0, 0.0: 0.0, 0.25: 0.25, 0.5: 0.5, 1.0: 1.0,
}  # fmt: skip


def error_of(
    domain: str,
    rule: Gain,
    answers: Mapping[str, Asked],
    trained: Mapping[str, int],
    teacher: Mapping[str, Asked],
) -> float:
    """e_d by Laplace's rule, less the teacher's; by T_d where no question was asked."""
    asked, wrong = answers.get(domain, (0, 0))
    if not asked:
        return 0.5 * (rule.n0 / (rule.n0 + trained.get(domain, 0))) ** rule.exponent
    gap = (wrong + 1) / (asked + 2)
    if domain in teacher:
        gap -= (teacher[domain].wrong + 1) / (teacher[domain].asked + 2)
    return max(gap, 1 / (asked + 2))


@given(
    counts=COUNTS,
    objective=st.sampled_from(list(OBJECTIVES)),
    floor=st.sampled_from([0.0, 0.125, 0.5, 1.0]),
    exponent=st.sampled_from([0.1, 0.5, 1.0, 2.0]),
    n0=st.sampled_from([0.5, 10.0, 200.0]),
    answers=ANSWERS,
    trained=st.dictionaries(NAMES, st.integers(0, 500)),
    teacher=ANSWERS,
    amount=st.integers(0, 150),
)
def test_quotas_are_those_of_the_naive_greedy(
    counts: dict[str, int],
    objective: float | Aim,
    floor: float,
    exponent: float,
    n0: float,
    answers: dict[str, Asked],
    trained: dict[str, int],
    teacher: dict[str, Asked],
    amount: int,
) -> None:
    """Minimise sum v_d e_d ((T_d + n0) / (T_d + n0 + q_d))^b, v_d = (1 - m) p_d + m / l."""
    rule = Gain(objective, floor=floor, exponent=exponent, n0=n0)
    found = quotas(MeasuredGain(rule, answers, trained, teacher), counts, 2, 4, amount)

    m, names = OBJECTIVES[objective], sorted(counts)
    v = {d: (1 - m) * counts[d] / sum(counts.values()) + m / len(counts) for d in names}
    e = {d: error_of(d, rule, answers, trained, teacher) for d in names}
    size = {d: trained.get(d, 0) + n0 for d in names}

    def left(domain: str, units: int) -> float:
        return v[domain] * e[domain] * (size[domain] / (size[domain] + units)) ** exponent

    each, over = divmod(int(floor * amount), len(names))
    naive = {d: each + (place < over) for place, d in enumerate(names)}
    least = dict(naive)
    for _ in range(amount - sum(naive.values())):
        best = max(names, key=lambda d: left(d, naive[d]) - left(d, naive[d] + 1))
        naive[best] += 1

    assert list(found) == names
    assert sum(found.values()) == amount
    # where domains tie, either may have the last unit
    assert all(least[d] <= found[d] and abs(found[d] - naive[d]) <= 1 for d in names)
    assert sum(left(d, found[d]) for d in names) == pytest.approx(
        sum(left(d, naive[d]) for d in names), rel=1e-9
    )
