from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.budget import (
    Partition,
    TailQuota,
    partition,
    quotas,
    redistribute,
    stage_budgets,
)
from baldistill.core.longtail import head_domains
from baldistill.core.policies import (
    Adaptive,
    Asked,
    Errors,
    Gain,
    MeasuredErrors,
    MeasuredGain,
    Naive,
    Natural,
    Schedule,
    Split,
)

COUNTS = st.dictionaries(
    st.text("abcxyz", min_size=1, max_size=3), st.integers(0, 2000), min_size=1, max_size=30
).filter(lambda counts: any(counts.values()))
SHARE = st.floats(0, 1)
STAGE = st.integers(1, 6).flatmap(lambda k: st.tuples(st.integers(1, k), st.just(k)))
NAME = st.text("abcxyz", min_size=1, max_size=3)
ANSWERS = st.dictionaries(
    NAME, st.integers(0, 50).flatmap(lambda n: st.builds(Asked, st.just(n), st.integers(0, n)))
)
GAIN = st.builds(
    Gain,
    st.one_of(SHARE, st.sampled_from(["macro", "natural", "entropy", "dodrans", "worst"])),
    floor=SHARE,
    exponent=st.floats(0.01, 4),
    n0=st.floats(0.1, 1000),
)
POLICY = st.one_of(
    st.just(Natural()),
    st.just(Naive()),
    st.just(Adaptive()),
    st.builds(Schedule, w_first=SHARE, w_last=SHARE, power=st.floats(0.1, 5)),
    st.builds(Split, st.tuples(SHARE), head_mass=st.floats(0.05, 1, exclude_max=True)),
    st.builds(Errors, SHARE),
    st.builds(MeasuredErrors, SHARE, ANSWERS),
    GAIN,
    st.builds(MeasuredGain, GAIN, ANSWERS, st.dictionaries(NAME, st.integers(0, 3000)), ANSWERS),
)


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_stage_budgets_sum_exactly_and_differ_by_one_at_most(total, num_stages):
    budgets = stage_budgets(total, num_stages)
    assert len(budgets) == num_stages
    assert sum(budgets) == total
    assert list(budgets) == sorted(budgets, reverse=True)
    assert budgets[0] - budgets[-1] <= 1


def test_stage_budgets_give_the_remainder_to_the_earliest():
    assert stage_budgets(10, 4) == (3, 3, 2, 2)


@given(POLICY, COUNTS, STAGE, st.integers(0, 5000), st.randoms())
def test_quotas_sum_exactly_are_never_negative_and_ignore_order(
    policy, counts, stage, budget, random
):
    result = quotas(policy, counts, *stage, budget)
    assert sum(result.values()) == budget
    assert all(quota >= 0 for quota in result.values())
    assert list(result) == sorted(counts)
    shuffled = list(counts.items())
    random.shuffle(shuffled)
    assert quotas(policy, dict(shuffled), *stage, budget) == result


@given(COUNTS, STAGE, st.integers(0, 5000))
def test_quotas_are_the_papers_formulas_within_one(counts, stage, budget):
    i, num_stages = stage
    num, whole = len(counts), sum(counts.values())
    for policy, weight in [
        (Natural(), Fraction(0)),
        (Naive(), Fraction(1)),
        (Adaptive(), Fraction(i, num_stages)),
    ]:
        result = quotas(policy, counts, i, num_stages, budget)
        for domain, count in counts.items():
            share = budget * ((1 - weight) * Fraction(count, whole) + weight / num)
            assert abs(result[domain] - share) < 1


@given(COUNTS, STAGE, st.integers(0, 5000), SHARE, st.floats(0.05, 1, exclude_max=True))
def test_split_gives_the_tail_its_share_equally(counts, stage, budget, share, mass):
    result = quotas(Split((share,), mass), counts, *stage, budget)
    tail = sorted(set(counts) - head_domains(counts, mass))
    if tail:
        in_tail = [result[domain] for domain in tail]
        assert abs(sum(in_tail) - budget * share) < len(counts)
        assert max(in_tail) - min(in_tail) <= 1
    else:
        assert result == quotas(Natural(), counts, *stage, budget)


@given(COUNTS, st.integers(1, 6), st.integers(0, 3000))
def test_the_named_policies_are_schedules(counts, num_stages, budget):
    linear = Schedule(w_first=1 / num_stages, w_last=1.0)
    for i in range(1, num_stages + 1):
        args = (counts, i, num_stages, budget)
        assert quotas(Natural(), *args) == quotas(Schedule((0.0,) * num_stages), *args)
        assert quotas(Naive(), *args) == quotas(Schedule((1.0,) * num_stages), *args)
        near = quotas(linear, *args)
        exactly = quotas(Adaptive(), *args)
        assert all(abs(near[domain] - exactly[domain]) <= 1 for domain in counts)


def test_hand_computed():
    counts = {"a": 80, "b": 15, "c": 5}
    assert quotas(Natural(), counts, 1, 4, 20) == {"a": 16, "b": 3, "c": 1}
    assert quotas(Naive(), counts, 1, 4, 20) == {"a": 7, "b": 7, "c": 6}  # ties by name
    # w = 1/2: a 8 + 10/3, b 1.5 + 10/3, c 0.5 + 10/3 = 11.33, 4.83, 3.83
    assert quotas(Adaptive(), counts, 2, 4, 20) == {"a": 11, "b": 5, "c": 4}
    assert quotas(Adaptive(), counts, 4, 4, 20) == quotas(Naive(), counts, 4, 4, 20)
    # The tail is b and c: half of 20 shared equally.
    assert quotas(Split((0.5,), 0.8), counts, 1, 4, 20) == {"a": 10, "b": 5, "c": 5}
    assert quotas(Split((0.0, 1.0), 0.8), counts, 2, 2, 20) == {"a": 0, "b": 10, "c": 10}


def test_schedule_power():
    counts = {"a": 100, "b": 0}
    policy = Schedule(w_first=0.0, w_last=1.0, power=2.0)  # w = 0, 1/4, 1
    assert [quotas(policy, counts, i, 3, 80)["b"] for i in (1, 2, 3)] == [0, 10, 40]
    assert quotas(policy, counts, 1, 1, 80)["b"] == 40  # a single stage is the last


def test_float_noise_moves_nothing():
    # 0.1 + 0.2 is not 0.3 in binary; what the user wrote is a tie, and ties go by name.
    assert quotas(Schedule((0.3,)), {"a": 5, "b": 5}, 1, 1, 3) == {"a": 2, "b": 1}
    assert quotas(Schedule((1 / 3,)), {"b": 5, "a": 5}, 1, 1, 3) == {"a": 2, "b": 1}


@given(POLICY, COUNTS, STAGE, st.integers(0, 500), st.data())
def test_redistribute_gives_everything_to_the_others(policy, counts, stage, shortfall, data):
    dry = data.draw(st.sets(st.sampled_from(sorted(counts))))
    extra = redistribute(policy, counts, *stage, shortfall, dry)
    assert set(extra) == set(counts) - dry
    assert sum(extra.values()) == (shortfall if extra else 0)
    if not dry:
        assert extra == quotas(policy, counts, *stage, shortfall)


def test_redistribute_keeps_the_policys_proportions():
    counts = {"a": 60, "b": 30, "c": 10}
    assert redistribute(Natural(), counts, 1, 2, 9, {"c"}) == {"a": 6, "b": 3}
    assert redistribute(Naive(), counts, 1, 2, 9, {"c"}) == {"a": 5, "b": 4}
    # Nothing for the tail by policy, and the head is dry: better equally than not at all.
    assert redistribute(Split((0.0,), 0.6), counts, 1, 2, 9, {"a"}) == {"b": 5, "c": 4}
    assert redistribute(Naive(), counts, 1, 2, 9, {"a", "b", "c"}) == {}


def test_partition_by_what_is_left():
    result = partition({"a": 5, "b": 5, "c": 5, "d": 0}, {"a": 5, "b": 4})
    assert result == Partition(
        head={"a": 5, "d": 0}, tail={"b": TailQuota(4, 1), "c": TailQuota(0, 5)}
    )


@given(st.dictionaries(st.text(max_size=2), st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_partition_meets_every_quota(domains):
    wanted = {domain: quota for domain, (quota, _) in domains.items()}
    result = partition(wanted, {domain: unused for domain, (_, unused) in domains.items()})
    met = result.head | {d: tail.real + tail.synthetic for d, tail in result.tail.items()}
    assert met == wanted
    assert all(tail.synthetic > 0 for tail in result.tail.values())


@pytest.mark.parametrize(
    ("policy", "stage", "num_stages", "budget", "message"),
    [
        (Naive(), 0, 3, 5, "stage must be between 1 and 3"),
        (Naive(), 4, 3, 5, "stage must be between 1 and 3"),
        (Naive(), 1, 3, -5, "negative"),
        (Gain(floor=0), 4, 3, 5, "stage must be between 1 and 3"),
        (Gain(floor=0), 1, 3, -5, "negative"),
        (Schedule((0.5, 0.5)), 1, 3, 5, "one per stage"),
        (Split((0.5, 0.5)), 1, 3, 5, "one per stage"),
    ],
)
def test_mistakes_are_named(policy, stage, num_stages, budget, message):
    with pytest.raises(ValueError, match=message):
        quotas(policy, {"a": 3}, stage, num_stages, budget)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Schedule((0.5, 1.5)),
        lambda: Schedule(()),
        lambda: Schedule(w_first=-0.1),
        lambda: Schedule(power=0),
        lambda: Schedule(w_last=float("nan")),
        lambda: Split(()),
        lambda: Split((2.0,)),
        lambda: Schedule(power=11),
        lambda: Split((0.5,), head_mass=0),
        lambda: Errors(-0.1),
        lambda: Errors(questions=0),
        lambda: MeasuredErrors(1.5, {}),
        lambda: Gain(1.5),
        lambda: Gain(floor=-0.1),
        lambda: Gain(exponent=0),
        lambda: Gain(n0=0),
        lambda: Gain(questions=0),
        lambda: stage_budgets(-1, 3),
        lambda: stage_budgets(3, 0),
    ],
)
def test_policies_check_themselves(make):
    with pytest.raises(ValueError, match="must"):
        make()


def test_errors_give_more_to_what_the_student_gets_wrong() -> None:
    counts = {"mastered": 900, "half": 90, "unknown": 10}
    answers = {"mastered": Asked(38, 0), "half": Asked(38, 19), "unknown": Asked(8, 8)}
    found = quotas(MeasuredErrors(0.5, answers), counts, 2, 4, 300)
    errors = [Fraction(1, 40), Fraction(20, 40), Fraction(9, 10)]
    expected = [300 * (Fraction(1, 6) + e / sum(errors) / 2) for e in errors]
    assert sum(found.values()) == 300
    for domain, share in zip(counts, expected, strict=True):
        assert abs(found[domain] - share) < 1
    assert found["mastered"] < found["half"] < found["unknown"]


def test_errors_without_a_student_are_adaptive_and_with_a_full_floor_naive() -> None:
    counts = {"a": 900, "b": 90, "c": 10}
    assert quotas(Errors(), counts, 1, 4, 300) == quotas(Adaptive(), counts, 1, 4, 300)
    answers = {"a": Asked(10, 0), "b": Asked(10, 10)}
    measured = MeasuredErrors(1.0, answers)
    assert quotas(measured, counts, 2, 4, 300) == quotas(Naive(), counts, 2, 4, 300)


def test_gain_without_a_student_fills_up_by_weight() -> None:
    counts = {"a": 900, "b": 90, "c": 10}
    assert quotas(Gain("macro"), counts, 1, 4, 300) == quotas(Naive(), counts, 1, 4, 300)
    assert quotas(Gain(1.0), counts, 1, 4, 301) == quotas(Gain("macro"), counts, 1, 4, 301)
    assert quotas(Gain("worst"), counts, 1, 4, 300) == quotas(Naive(), counts, 1, 4, 300)
    natural = quotas(Gain("natural", floor=0), counts, 1, 4, 300)
    assert natural == quotas(Gain(0.0, floor=0), counts, 1, 4, 300)
    # q + n0 in proportion to p^(2/3): 330 units of 0.932, 0.201 and 0.046
    whole = sum(count ** (2 / 3) for count in counts.values())
    for domain, count in counts.items():
        assert abs(natural[domain] - (330 * count ** (2 / 3) / whole - 10)) < 1
    # where all have had something, those that have had least are filled up to one level
    uneven = MeasuredGain(Gain("macro", floor=0), trained={"a": 250, "b": 40})
    assert quotas(uneven, counts, 2, 4, 100) == {"a": 0, "b": 30, "c": 70}


def test_gain_gives_the_floor_to_all_and_goes_on_where_domains_run_dry() -> None:
    counts = {"a": 900, "b": 90, "c": 10}
    unlearnt = {"a": Asked(40, 0), "b": Asked(40, 0), "c": Asked(40, 40)}
    worst = MeasuredGain(Gain("worst", floor=0.3), unlearnt)
    assert quotas(worst, counts, 2, 4, 100) == {"a": 10, "b": 10, "c": 80}
    macro = MeasuredGain(Gain("macro", floor=0), trained={"a": 50})
    first = quotas(macro, counts, 2, 4, 60)
    assert first == {"a": 0, "b": 30, "c": 30}
    # c could have 5 alone: its 25 go on from where the others are
    extra = redistribute(macro, counts, 2, 4, 25, {"c"}, first)
    assert extra == {"a": 3, "b": 22}  # 53 and 52: one level


def test_gain_does_not_chase_what_the_teacher_cannot_do() -> None:
    answers = {"a": Asked(38, 19), "b": Asked(38, 19)}
    teacher = {"b": Asked(38, 15), "c": Asked(8, 9 - 1)}
    measured = MeasuredGain(Gain(), answers, teacher=teacher)
    assert measured.error("a") == pytest.approx(20 / 40)
    assert measured.error("b") == pytest.approx(20 / 40 - 16 / 40)
    assert measured.error("c") == pytest.approx(1 / 2)  # not asked
    found = quotas(measured, {"a": 50, "b": 50}, 2, 4, 100)
    assert found["a"] > found["b"]
