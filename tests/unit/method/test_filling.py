"""Filling quotas: every unit of the budget becomes an example, or has a reason why not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.budget import Naive, quotas, redistribute
from baldistill.method.filling import Draw, Explain, Filling, Repeat, Synthesize, TailFill

DOMAINS = ("a", "b", "c", "d")


@dataclass
class World:
    """A corpus, its teacher and a budget.

    Attributes:
        unused: Real rows of each domain.
        selected: Of them, those at hand at the start.
        explains: Chance that a real example of a domain is accepted.
        writes: Chance that a new example of a domain is accepted.
        budget: B_i.
        calls: Cap on calls to the teacher.
        fill: What follows when real examples ran out.
        seed: Of the chances.
        tried: Real rows of each domain that the teacher saw.
        actions: What was done.
    """

    unused: dict[str, int]
    selected: dict[str, int]
    explains: dict[str, float]
    writes: dict[str, float]
    budget: int
    calls: int
    fill: TailFill
    seed: int
    tried: Counter[str] = field(default_factory=Counter)
    actions: list[object] = field(default_factory=list)

    def filled(self) -> Filling:
        """Fill the quotas of the naive policy; check every action."""
        counts = dict.fromkeys(self.unused, 10)
        plan = quotas(Naive(), counts, 1, 1, self.budget)
        filling = Filling(
            plan,
            at_hand=self.selected,
            unused=self.unused,
            fill=self.fill,
            redistribute=partial(redistribute, Naive(), counts, 1, 1),
        )
        chance = random.Random(self.seed)
        at_hand = Counter(self.selected)
        for action in filling.actions():
            self.actions.append(action)
            assert action.counts, "an action does something"
            assert all(count > 0 for count in action.counts.values())
            assert not set(action.counts) & filling.dry, "a dry domain is left alone"
            accepted: Counter[str] = Counter()
            refused = None
            if isinstance(action, Draw):
                for domain, count in action.counts.items():
                    assert not at_hand[domain], "what is at hand is tried first"
                    assert count <= action.untried[domain]
                    assert action.untried[domain] == self.unused[domain] - self.tried[domain]
                at_hand.update(action.counts)
            elif isinstance(action, Repeat):
                accepted.update({d: n for d, n in action.counts.items() if filling.accepted[d]})
            else:
                is_real = isinstance(action, Explain)
                chances = self.explains if is_real else self.writes
                for domain, count in action.counts.items():
                    assert count <= filling.missing()[domain], "no unit is asked for twice"
                    for _ in range(count):
                        if not self.calls:
                            refused = "calls"
                            continue
                        self.calls -= 1
                        self.tried[domain] += is_real
                        accepted[domain] += chance.random() < chances[domain]
                if is_real:
                    at_hand.subtract(action.counts)
                    assert min(at_hand.values()) >= 0
                else:
                    assert all(self.tried[d] == self.unused[d] for d in action.counts)
            filling.record(action, accepted, refused)
            assert sum(filling.quotas.values()) == self.budget
        return filling

    def done(self, kind: type) -> list[object]:
        return [action for action in self.actions if isinstance(action, kind)]


def of_each(values: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, float]]:
    return st.fixed_dictionaries(dict.fromkeys(DOMAINS, values))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    unused = {domain: draw(st.integers(0, 60)) for domain in DOMAINS}
    chances = st.sampled_from([0.0, 0.2, 0.9, 1.0])
    return World(
        unused=unused,
        selected={d: draw(st.integers(0, n)) for d, n in unused.items() if draw(st.booleans())},
        explains=draw(of_each(chances)),
        writes=draw(of_each(chances)),
        budget=draw(st.integers(0, 80)),
        calls=draw(st.one_of(st.just(10_000), st.integers(0, 100))),
        fill=draw(st.sampled_from(["synthesize", "repeat", "none"])),
        seed=draw(st.integers(0, 1000)),
    )


@given(worlds())
def test_every_unit_is_an_example_or_has_a_reason(world: World) -> None:
    filling = world.filled()
    unfilled = filling.unfilled()
    assert filling.accepted.total() + sum(unfilled.values()) == world.budget
    assert all(filling.accepted[d] <= n for d, n in filling.quotas.items())
    if unfilled:
        (reason,) = unfilled
        assert reason == (
            "the cap on calls"
            if filling.refused
            else "domains ran dry and tail.fill is none"
            if world.fill == "none"
            else "all domains ran dry"
        )
        if reason == "all domains ran dry":
            assert filling.dry == set(DOMAINS)


@given(worlds())
def test_no_real_example_is_tried_twice_and_no_tail_is_filled_before_its_time(
    world: World,
) -> None:
    world.filled()  # which checks the actions
    assert all(world.tried[domain] <= count for domain, count in world.unused.items())
    assert world.fill == "synthesize" or not world.done(Synthesize)
    assert world.fill == "repeat" or not world.done(Repeat)


@given(worlds())
def test_the_same_answers_give_the_same_actions(world: World) -> None:
    again = World(**{name: getattr(world, name) for name in WORLD})
    world.filled()
    again.filled()
    assert world.actions == again.actions


WORLD = ("unused", "selected", "explains", "writes", "budget", "calls", "fill", "seed")


def world(**changes: object) -> World:
    """Two domains of which one has what its quota of 10 needs."""
    values: dict[str, object] = {
        "unused": {"a": 40, "b": 40},
        "selected": {"a": 18, "b": 18},
        "explains": {"a": 1.0, "b": 1.0},
        "writes": {"a": 1.0, "b": 1.0},
        "budget": 20,
        "calls": 10_000,
        "fill": "synthesize",
        "seed": 0,
    }
    return World(**(values | changes))  # type: ignore[arg-type]


def test_what_was_selected_is_enough_where_all_is_accepted() -> None:
    easy = world()
    filling = easy.filled()
    assert easy.actions == [Explain({"a": 10, "b": 10})]
    assert (filling.accepted, filling.dry) == ({"a": 10, "b": 10}, set())


def test_a_domain_that_the_teacher_cannot_explain_gets_no_further_rows() -> None:
    hard = world(explains={"a": 0.0, "b": 1.0})
    filling = hard.filled()
    assert hard.tried["a"] == 18
    assert filling.dry == {"a"}
    assert filling.accepted == {"a": 0, "b": 20}


def test_rejected_examples_are_replaced_from_the_corpus() -> None:
    some = world(explains={"a": 0.3, "b": 1.0}, unused={"a": 400, "b": 40})
    assert some.filled().accepted == {"a": 10, "b": 10}
    assert some.done(Draw)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("synthesize", {"a": 10, "b": 10}),
        ("repeat", {"a": 10, "b": 10}),
        ("none", {"a": 4, "b": 10}),
    ],
)
def test_a_tail_domain_is_filled_as_the_option_says(
    fill: TailFill, expected: Mapping[str, int]
) -> None:
    few = world(unused={"a": 4, "b": 40}, selected={"a": 4, "b": 18}, fill=fill)
    filling = few.filled()
    assert filling.accepted == expected
    assert sum(filling.unfilled().values()) == 20 - sum(expected.values())


def test_a_cap_ends_the_work_and_makes_no_domain_dry() -> None:
    capped = world(calls=13)
    filling = capped.filled()
    assert (filling.refused, filling.dry) == ("calls", set())
    assert filling.unfilled() == {"the cap on calls": 7}
    assert len(capped.actions) == 1
