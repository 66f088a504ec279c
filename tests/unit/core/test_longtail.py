import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.longtail import (
    exact,
    head_domains,
    imbalance,
    random_sizes,
    sizes_by_share,
)

COUNTS = st.dictionaries(st.text(max_size=4), st.integers(0, 500), min_size=1).filter(
    lambda counts: any(counts.values())
)


def test_head_is_the_smallest_set_that_holds_the_mass():
    assert head_domains({"a": 50, "b": 30, "c": 15, "d": 5}) == {"a", "b"}
    assert head_domains({"a": 50, "b": 30, "c": 15, "d": 5}, 0.81) == {"a", "b", "c"}


def test_head_mass_is_the_number_that_was_written():
    # The float 0.8 is a little more than 4/5: taken as it is, c would join the head.
    assert exact(0.8).denominator == 5
    assert head_domains({"a": 4, "b": 4, "c": 2}, 0.8) == {"a", "b"}


def test_ties_go_by_name():
    assert head_domains({"z": 10, "m": 10, "a": 10}, 0.5) == {"a", "m"}


@given(COUNTS, st.floats(0, 1), st.randoms())
def test_head_holds_the_mass_and_no_domain_too_many(counts, mass, random):
    head = head_domains(counts, mass)
    held = sum(counts[domain] for domain in head)
    wanted = exact(mass) * sum(counts.values())
    assert held >= wanted
    if head:
        assert held - min(counts[domain] for domain in head) < wanted
    shuffled = list(counts.items())
    random.shuffle(shuffled)
    assert head_domains(dict(shuffled), mass) == head


@pytest.mark.parametrize(
    ("counts", "mass", "message"),
    [
        ({}, 0.8, "no domains"),
        ({"a": 0}, 0.8, "no examples"),
        ({"a": 3, "b": -1}, 0.8, "negative"),
        ({"a": 3}, 1.5, "head_mass"),
        ({"a": 3}, float("nan"), "head_mass"),
    ],
)
def test_mistakes_are_named(counts, mass, message):
    with pytest.raises(ValueError, match=message):
        head_domains(counts, mass)


def test_imbalance_by_hand():
    figures = imbalance({"a": 6, "b": 3, "c": 1})
    assert (figures.num_domains, figures.num_examples) == (3, 10)
    assert (figures.largest, figures.smallest, figures.ratio) == (6, 1, 6.0)
    assert figures.gini == pytest.approx((-2 * 1 + 0 * 3 + 2 * 6) / (3 * 10))
    assert (figures.num_head_domains, figures.head_share) == (2, 0.9)
    assert figures.to_dict()["head_share"] == 0.9


def test_equal_domains_have_no_imbalance_and_an_empty_one_has_an_infinite_ratio():
    assert imbalance({"a": 5, "b": 5}).gini == 0
    assert imbalance({"a": 5, "b": 0}).ratio == float("inf")


@given(
    st.dictionaries(st.text(max_size=2), st.integers(0, 500), min_size=1),
    st.integers(0, 3000),
    st.integers(0, 9),
)
def test_random_sizes_are_those_of_a_draw(counts: dict[str, int], total: int, seed: int) -> None:
    sizes = random_sizes(counts, total, seed)
    assert sum(sizes.values()) == min(total, sum(counts.values()))
    assert all(0 <= sizes[domain] <= count for domain, count in counts.items())
    assert random_sizes(dict(reversed(counts.items())), total, seed) == sizes


def test_sizes_by_share_take_as_many_as_the_scarcest_domain_has() -> None:
    shares = {"a": 0.35, "b": 0.19, "c": 0.03, "d": 0.02}
    counts = {"a": 9000, "b": 9000, "c": 30, "d": 300}
    assert sizes_by_share(counts, shares) == {"a": 350, "b": 190, "c": 30, "d": 20}
