"""A user's policy: what it is told, and that its quotas are checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.budget import quotas, redistribute
from baldistill.core.own_parts import OwnPartError
from baldistill.core.own_policy import MeasuredOwn, OwnPolicy, StageFacts
from baldistill.core.policies import Asked

COUNTS = {"b": 60, "a": 30, "c": 10}


class Fixed:
    """Returns what it is made with, and remembers what it was told."""

    told: list[StageFacts]

    def __init__(self, given: Any = None) -> None:
        self.given = given

    def quotas(self, stage: StageFacts) -> Any:
        type(self).told.append(stage)
        return self.given


def nothing(**options: object) -> None:
    raise AssertionError("a function was called")


class NoPolicy:
    def __init__(self, **options: object) -> None:
        raise AssertionError("a class without quotas was made")


@pytest.fixture(autouse=True)
def _a_module() -> Iterator[None]:
    module: Any = ModuleType("own_policies_of_a_test")
    module.Fixed, module.nothing, module.NoPolicy = Fixed, nothing, NoPolicy
    Fixed.told = []
    sys.modules[module.__name__] = module
    yield
    del sys.modules[module.__name__]


def policy(given: Any, name: str = "Fixed") -> OwnPolicy:
    return OwnPolicy(f"own_policies_of_a_test:{name}", {"given": given})


def test_it_is_told_the_stage_and_its_quotas_are_taken() -> None:
    measured = MeasuredOwn(policy({"c": 4, "b": 6}), {"a": Asked(5, 2)}, {"b": 7})
    assert quotas(measured, COUNTS, 2, 3, 10) == {"a": 0, "b": 6, "c": 4}
    (facts,) = Fixed.told
    assert (facts.counts, facts.stage, facts.num_stages, facts.budget) == (COUNTS, 2, 3, 10)
    assert (facts.answers, facts.trained) == ({"a": Asked(5, 2)}, {"b": 7})
    assert quotas(policy({"a": 10}), COUNTS, 1, 1, 10) == {"a": 10, "b": 0, "c": 0}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"a": 4, "b": 5}, "the quotas of stage 1 sum to 9, and its budget is 10"),
        ({"a": 4, "b": 7}, "the quotas of stage 1 sum to 11, and its budget is 10"),
        ({"a": 10, "d": 0}, r"quotas of unknown domains: \['d'\]"),
        ({"a": 11, "b": -1}, "the quota of b is -1: give a whole number >= 0"),
        ({"a": 5.0, "b": 5}, "the quota of a is 5.0: give a whole number"),
        ([10], "quotas must return a mapping of domains"),
    ],
)
def test_quotas_that_are_none_are_refused(given: Any, complaint: str) -> None:
    with pytest.raises(OwnPartError, match=f"own_policies_of_a_test:Fixed: .*{complaint}"):
        quotas(policy(given), COUNTS, 1, 1, 10)


@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 20)), st.integers(0, 40))
def test_quotas_are_taken_exactly_if_they_sum_to_the_budget(
    given: dict[str, int], budget: int
) -> None:
    if sum(given.values()) == budget:
        found = quotas(policy(given), COUNTS, 1, 1, budget)
        assert sum(found.values()) == budget
        assert {d: n for d, n in found.items() if n} == {d: n for d, n in given.items() if n}
    else:
        with pytest.raises(OwnPartError, match="must be equal"):
            quotas(policy(given), COUNTS, 1, 1, budget)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("no_such_package:Name", r"cannot be imported \(No module named 'no_such_package'\)"),
        ("own_policies_of_a_test:Other", "own_policies_of_a_test has no Other"),
        ("own_policies_of_a_test:nothing", "is no class with a method quotas"),
        ("own_policies_of_a_test:NoPolicy", "is no class with a method quotas"),
        ("os:system", "is no class with a method quotas"),
        ("subprocess:Popen", "is no class with a method quotas"),
        ("own_policies_of_a_test:", "neither package.module:Name nor an entry point"),
    ],
)
def test_what_is_no_policy_is_named_and_never_called(kind: str, complaint: str) -> None:
    with pytest.raises(OwnPartError, match=complaint):
        quotas(OwnPolicy(kind, {"given": 1}), COUNTS, 1, 1, 10)


def test_options_that_the_class_does_not_take_are_named() -> None:
    wrong = OwnPolicy("own_policies_of_a_test:Fixed", {"gven": 1})
    with pytest.raises(OwnPartError, match=r"refuses its options \{'gven': 1\}: .*gven"):
        quotas(wrong, COUNTS, 1, 1, 10)


def test_what_dry_domains_leave_goes_to_the_others_by_their_quotas() -> None:
    given = {"a": 6, "b": 3, "c": 1}
    extra = redistribute(policy(given), COUNTS, 1, 1, 8, {"c"}, given)
    assert extra == {"a": 5, "b": 3}
    assert redistribute(policy(given), COUNTS, 1, 1, 8, set(COUNTS), given) == {}
