"""Plans over all stages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.core.budget import quotas
from baldistill.core.policies import Asked, Gain, MeasuredErrors, MeasuredGain
from baldistill.errors import ConfigError
from baldistill.method.plan import StudentErrors, plan_all, policy_of
from baldistill.method.select import candidate_counts

COUNTS = {"a": 700, "b": 200, "c": 60, "d": 30, "e": 10}


@given(
    counts=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 500), min_size=1),
    total=st.integers(0, 2000),
    stages=st.integers(1, 7),
    policy=st.sampled_from(["natural", "naive", "adaptive", "schedule", "split", "errors", "gain"]),
)
def test_plans_spend_exactly_the_budget_and_no_real_example_twice(
    counts: dict[str, int], total: int, stages: int, policy: str
) -> None:
    config = Config.model_validate({"stages": stages, "budget": {"total": total, "policy": policy}})
    plans = plan_all(config, counts)
    assert sum(sum(plan.quotas.values()) for plan in plans) == total
    for domain, count in counts.items():
        real = sum(
            plan.head.get(domain, 0) + (plan.tail[domain].real if domain in plan.tail else 0)
            for plan in plans
        )
        assert real <= count


def test_the_whole_pool_is_no_candidate_of_a_large_corpus() -> None:
    counts = {"a": 900_000, "b": 100_000}
    config = load_config(None, ["selection.candidates_per_quota=null"])
    assert plan_all(config, counts)
    with pytest.raises(ConfigError, match=r"candidates of all 1,000,001 rows.*such as 3"):
        plan_all(config, {**counts, "c": 1})
    assert plan_all(load_config(), {**counts, "c": 1})


@pytest.mark.parametrize("per_quota", [1.0, 3.0, None])
def test_candidates_cover_the_quota_and_never_exceed_the_pool(per_quota: float | None) -> None:
    for plan in plan_all(load_config(None, ["budget.total=500"]), COUNTS):
        counts = candidate_counts(plan, per_quota)
        for domain, quota in plan.head.items():
            assert quota <= counts[domain] <= plan.unused[domain]
            if per_quota is None and quota:
                assert counts[domain] == plan.unused[domain]
        for domain, tail in plan.tail.items():
            assert counts[domain] == tail.real


def test_gain_knows_what_earlier_stages_annotated() -> None:
    counts = {"a": 700, "b": 300}
    config = load_config(None, ["budget.policy={kind: gain, objective: natural, floor: 0}"])
    plans = plan_all(config, counts)
    once = quotas(Gain("natural", floor=0), counts, 1, 1, config.budget.total)
    assert sum(plan.quotas["a"] for plan in plans) == once["a"]  # each stage goes on
    errors = StudentErrors({"a": Asked(40, 4)})
    measured = policy_of(config, errors, {"a": 9}, {"a": Asked(9, 1)})
    assert isinstance(measured, MeasuredGain)
    assert (measured.answers, measured.trained, measured.teacher) == (errors.answers, {"a": 9}, {})
    forgetful = load_config(None, ["budget.policy=gain", "student.data=stage", "student.init=base"])
    alone = policy_of(forgetful, errors, {"a": 9})
    assert isinstance(alone, MeasuredGain)
    assert alone.trained == {}
    ddk = load_config(None, ["budget.policy={kind: gain, beyond_teacher: true}"])
    with_teacher = policy_of(ddk, errors, {"a": 9}, {"a": Asked(9, 1)})
    assert isinstance(with_teacher, MeasuredGain)
    assert with_teacher.teacher == {"a": Asked(9, 1)}
    errors_policy = policy_of(load_config(None, ["budget.policy=errors"]), errors, {})
    assert isinstance(errors_policy, MeasuredErrors)
