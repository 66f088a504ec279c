"""Filling quotas: every unit of the budget becomes an example, or has a reason why not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.config.budget import TailFill
from baldistill.core.budget import Naive, quotas, redistribute
from baldistill.method.filling import Draw, Explain, ExplainAgain, Filling, Repeat, Synthesize

DOMAINS = ("a", "b", "c", "d")


@dataclass
class World:
    """A corpus, its teacher and a budget.

    Attributes:
        unused: Real rows of each domain.
        selected: Of them, those at hand at the start.
        explains: Chance that a real example of a domain is accepted.
        again: Further rationales of each accepted real example that are accepted, at most.
        writes: Chance that a new example of a domain is accepted.
        budget: B_i.
        calls: Cap on calls to the teacher.
        fills: What follows in order when real examples ran out.
        per_example: Units that a real example may give.
        seed: Of the chances.
        tried: Real rows of each domain that the teacher saw.
        actions: What was done.
    """

    unused: dict[str, int]
    selected: dict[str, int]
    explains: dict[str, float]
    again: dict[str, int]
    writes: dict[str, float]
    budget: int
    calls: int
    fills: Sequence[TailFill]
    per_example: int
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
            fills=self.fills,
            redistribute=partial(redistribute, Naive(), counts, 1, 1),
            per_example=self.per_example,
        )
        chance = random.Random(self.seed)
        at_hand = Counter(self.selected)
        explained: Counter[str] = Counter()
        explained_again: Counter[str] = Counter()
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
            elif isinstance(action, ExplainAgain):
                assert all(self.tried[d] == self.unused[d] for d in action.counts)
                for domain, count in action.counts.items():
                    assert count <= filling.missing()[domain], "no unit is asked for twice"
                    left = explained[domain] * self.again[domain] - explained_again[domain]
                    given = min(count, left, self.calls)
                    refused = "calls" if given < min(count, left) else refused
                    accepted[domain] += given
                    explained_again[domain] += given
                    self.calls -= given
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
                        is_good = chance.random() < chances[domain]
                        room = filling.missing()[domain] - accepted[domain]
                        most = chance.randint(1, self.per_example) if is_real else 1
                        accepted[domain] += min(room, most) if is_good else 0
                        explained[domain] += is_good and is_real
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


FILLS = st.lists(
    st.sampled_from(["rationales", "synthesize", "repeat"]), unique=True, max_size=3
).flatmap(lambda fills: st.sampled_from([fills or ["none"], [*fills, "none"]]))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    unused = {domain: draw(st.integers(0, 60)) for domain in DOMAINS}
    chances = st.sampled_from([0.0, 0.2, 0.9, 1.0])
    return World(
        unused=unused,
        selected={d: draw(st.integers(0, n)) for d, n in unused.items() if draw(st.booleans())},
        explains=draw(of_each(chances)),
        again=draw(st.fixed_dictionaries(dict.fromkeys(DOMAINS, st.sampled_from([0, 1, 50])))),
        writes=draw(of_each(chances)),
        budget=draw(st.integers(0, 80)),
        calls=draw(st.one_of(st.just(10_000), st.integers(0, 100))),
        fills=draw(FILLS),
        per_example=draw(st.sampled_from([1, 1, 3])),
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
            if world.fills == ["none"]
            else "domains ran dry and tail.fill ends with none"
            if "none" in world.fills
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
    assert "synthesize" in world.fills or not world.done(Synthesize)
    assert "repeat" in world.fills or not world.done(Repeat)
    assert "rationales" in world.fills or not world.done(ExplainAgain)


@given(worlds())
def test_a_fill_gets_what_the_ones_before_it_left(world: World) -> None:
    world.filled()
    kinds = {"rationales": ExplainAgain, "synthesize": Synthesize, "repeat": Repeat}
    order = [kinds[fill] for fill in world.fills if fill != "none"]
    for place, action in enumerate(world.actions):
        if not isinstance(action, ExplainAgain | Synthesize):
            continue
        earlier = order[: order.index(type(action))]
        just_before = world.actions[place - len(earlier) : place]
        assert [type(one) for one in just_before] == earlier
        assert all(action.counts.keys() <= one.counts.keys() for one in just_before)  # type: ignore[attr-defined]


@given(worlds())
def test_the_same_answers_give_the_same_actions(world: World) -> None:
    again = World(**{name: getattr(world, name) for name in WORLD})
    world.filled()
    again.filled()
    assert world.actions == again.actions


WORLD = ("unused", "selected", "explains", "again", "writes", "budget", "calls", "fills")
WORLD += ("per_example", "seed")


def world(**changes: object) -> World:
    """Two domains of which one has what its quota of 10 needs."""
    values: dict[str, object] = {
        "unused": {"a": 40, "b": 40},
        "selected": {"a": 18, "b": 18},
        "explains": {"a": 1.0, "b": 1.0},
        "again": {"a": 2, "b": 2},
        "writes": {"a": 1.0, "b": 1.0},
        "budget": 20,
        "calls": 10_000,
        "fills": ["synthesize"],
        "per_example": 1,
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
    ("fills", "expected", "actions"),
    [
        (["synthesize"], {"a": 10, "b": 10}, [Synthesize({"a": 6})]),
        (["repeat"], {"a": 10, "b": 10}, [Repeat({"a": 6})]),
        (["none"], {"a": 4, "b": 10}, []),
        (["rationales", "none"], {"a": 8, "b": 10}, [ExplainAgain({"a": 6})]),
        (
            ["rationales", "synthesize"],
            {"a": 10, "b": 10},
            [ExplainAgain({"a": 6}), Synthesize({"a": 2})],
        ),
        (["synthesize", "rationales"], {"a": 10, "b": 10}, [Synthesize({"a": 6})]),
        (["rationales"], {"a": 8, "b": 12}, [ExplainAgain({"a": 6}), Explain({"b": 2})]),
    ],
)
def test_a_tail_domain_is_filled_as_the_option_says(
    fills: list[TailFill], expected: Mapping[str, int], actions: list[object]
) -> None:
    few = world(
        unused={"a": 4, "b": 40},
        selected={"a": 4, "b": 18},
        again={"a": 1, "b": 1},
        fills=fills,
    )
    filling = few.filled()
    assert filling.accepted == expected
    assert few.actions == [Explain({"a": 4, "b": 10}), *actions]
    assert sum(filling.unfilled().values()) == 20 - sum(expected.values())


def test_several_rationales_an_example_need_fewer_examples() -> None:
    several = world(per_example=3, budget=22)
    filling = several.filled()
    assert filling.accepted.total() == 22
    first = several.actions[0]
    assert first == Explain({"a": 4, "b": 4})  # 11 units of each


def test_a_cap_ends_the_work_and_makes_no_domain_dry() -> None:
    capped = world(calls=13)
    filling = capped.filled()
    assert (filling.refused, filling.dry) == ("calls", set())
    assert filling.unfilled() == {"the cap on calls": 7}
    assert len(capped.actions) == 1
