"""What the training answers say about labels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.label_sets import MAX_LABELS, Labels, labels_from_answers


def labels(**answers: str) -> Labels:
    """From the answers of each domain, parted by spaces."""
    folded = {
        name: {word.casefold(): word for word in text.split()} for name, text in answers.items()
    }
    return labels_from_answers(folded)


def test_a_small_domain_has_the_labels_of_those_that_share_one() -> None:
    found = labels(films="positive negative neutral", books="positive negative", one="neutral")
    sentiment = ("negative", "neutral", "positive")
    assert found == Labels({"books": sentiment, "films": sentiment, "one": sentiment}, {})


def test_sets_that_share_nothing_stay_apart() -> None:
    found = labels(coins="yes no", flips="No maybe", films="good bad")
    coins = ("No", "maybe", "yes")
    assert found.among == {"coins": coins, "flips": coins, "films": ("bad", "good")}


def test_sets_are_joined_through_a_third() -> None:
    found = labels(a="1 2", b="3 4", c="2 3")
    assert set(found.among.values()) == {("1", "2", "3", "4")}


def test_domains_of_one_answer_each_are_their_labels() -> None:
    found = labels(earn="earn", acq="Acq", coins="yes no")
    assert found.own == {"acq": "Acq", "earn": "earn"}
    assert found.among["earn"] == ("Acq", "earn")
    assert found.among["coins"] == ("no", "yes")


def test_a_domain_of_one_answer_that_others_give_is_no_label() -> None:
    assert labels(coins="yes no", flips="yes", earn="earn", acq="acq").own == {
        "acq": "acq",
        "earn": "earn",
    }
    assert labels(coins="yes", flips="yes", earn="earn") == Labels()


def test_many_domains_are_labels_though_no_prompt_lists_them() -> None:
    names = [f"l{number}" for number in range(MAX_LABELS + 1)]
    found = labels(**{name: name for name in names})
    assert found.among == {}
    assert found.own == {name: name for name in names}


@given(st.dictionaries(st.sampled_from("pqrst"), st.sets(st.sampled_from("abcdef"), min_size=1)))
def test_the_order_of_the_domains_does_not_matter(answers: dict[str, set[str]]) -> None:
    given_ = {domain: {key: key for key in sorted(keys)} for domain, keys in answers.items()}
    turned = {
        domain: dict(reversed(keys.items())) for domain, keys in reversed(list(given_.items()))
    }
    found = labels_from_answers(given_)
    assert found == labels_from_answers(turned)
    for domain, keys in given_.items():
        assert set(keys) <= set(found.among.get(domain, keys))
