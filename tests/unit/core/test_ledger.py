import itertools
import json
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from baldistill.core.ledger import (
    Caps,
    Ledger,
    Prices,
    Reject,
    Release,
    Reserve,
    Settle,
    from_record,
    to_record,
)


def ask(name: str, **kwargs) -> Reserve:
    given = {"purpose": "rationale", "stage": 1, "domain": "d", "max_tokens": 10, **kwargs}
    return Reserve(name, **given)


def total(ledger: Ledger):
    return ledger.summary().total


def test_nothing_is_granted_past_the_cap():
    ledger = Ledger(Caps(examples=2))
    grants = ledger.reserve([ask("a"), ask("b"), ask("c"), ask("v", units=0)])
    assert grants.granted == ("a", "b", "v")
    assert grants.refused == {"c": "examples"}
    assert [entry.request_id for entry in grants.entries] == ["a", "b", "v"]
    assert ledger.remaining() == Caps(examples=0)


@pytest.mark.parametrize(
    ("caps", "cap"),
    [
        (Caps(examples=1), "examples"),
        (Caps(calls=1), "calls"),
        (Caps(tokens=19), "tokens"),
        (Caps(cost=1.9e-5), "cost"),
    ],
)
def test_every_cap_holds_and_says_so(caps, cap):
    ledger = Ledger(caps, (Prices(1, 1),))
    assert ledger.reserve([ask("a"), ask("b")]).refused == {"b": cap}


def test_caps_can_be_used_up_exactly():
    caps = Caps(examples=2, calls=2, tokens=20, cost=0.3)
    ledger = Ledger(caps, (Prices(10_000, 15_000),))  # 20 tokens at 0.015 are 0.3 exactly
    assert ledger.reserve([ask("a"), ask("b")]).granted == ("a", "b")
    assert ledger.remaining() == Caps(0, 0, 0, 0.0)


def test_settling_frees_what_was_held_too_much():
    ledger = Ledger(Caps(tokens=20, cost=1.0), (Prices(10_000, 50_000),))
    ledger.reserve([ask("a", prompt_tokens=6)])
    assert total(ledger).held_tokens == 10
    assert total(ledger).held_cost == pytest.approx(6 * 0.01 + 4 * 0.05)
    ledger.settle([Settle("a", prompt_tokens=6, completion_tokens=1)])
    assert ledger.remaining() == Caps(tokens=13, cost=0.89)
    assert total(ledger).held_tokens == 0
    assert total(ledger).cost == pytest.approx(0.11)


def test_a_settled_request_costs_nothing_to_ask_for_again():
    ledger = Ledger(Caps(examples=1, calls=1))
    ledger.reserve([ask("a")])
    ledger.settle([Settle("a", 3, 4)])
    before = ledger.summary()
    again = ledger.reserve([ask("a")])
    assert (again.granted, again.settled, again.entries) == (("a",), {"a"}, ())
    assert ledger.settle([Settle("a", 3, 4)]) == ()
    assert ledger.summary() == before


def test_a_reservation_left_open_costs_another_call_but_no_second_unit():
    first = Ledger(Caps(examples=1, calls=2))
    entries = first.reserve([ask("a")]).entries
    second = Ledger.replay(first.caps, entries)
    assert second.remaining() == Caps(examples=0, calls=1)
    assert second.reserve([ask("a")]).granted == ("a",)
    assert second.remaining() == Caps(examples=0, calls=0)
    assert second.reserve([ask("a")]).refused == {"a": "calls"}
    second.settle([Settle("a", 2, 3)])
    assert (total(second).calls, total(second).units, total(second).held_tokens) == (2, 1, 10)


def test_its_own_stored_answer_settles_an_open_reservation_without_another_call():
    first = Ledger(Caps(calls=1))
    second = Ledger.replay(first.caps, first.reserve([ask("a")]).entries)
    second.settle([Settle("a", 2, 3)])
    assert (total(second).calls, total(second).held_tokens) == (1, 0)


def test_a_shared_store_costs_no_call():
    ledger = Ledger(Caps(examples=2, calls=1))
    ledger.reserve([ask("a")])
    ledger.settle([Settle("a", 5, 5, reused=True)])
    assert (total(ledger).calls, total(ledger).units, total(ledger).reused) == (0, 1, 1)
    assert total(ledger).prompt_tokens == 0
    ledger.reserve([ask("b")])
    # The only call is taken, but an answer that is known to be stored needs none.
    assert ledger.reserve([ask("c")]).refused == {"c": "examples"}
    assert ledger.reserve([ask("v", units=0)]).refused == {"v": "calls"}
    assert ledger.reserve([ask("v", units=0, calls=0)]).granted == ("v",)
    with pytest.raises(ValueError, match="reserved without a call"):
        ledger.settle([Settle("v", 1, 1)])
    ledger.settle([Settle("v", reused=True)])
    assert ledger.status("v") == "settled"


def test_a_rejection_gives_the_unit_back_and_nothing_else():
    ledger = Ledger(Caps(examples=1))
    ledger.reserve([ask("a")])
    ledger.settle([Settle("a", 3, 4)])
    assert len(ledger.reject([Reject("a", "wrong_answer")])) == 1
    assert ledger.reject([Reject("a", "too_late")]) == ()
    assert ledger.reserve([ask("b")]).granted == ("b",)
    spent = total(ledger)
    assert (spent.units, spent.calls, spent.prompt_tokens) == (1, 2, 3)
    assert spent.rejected == {"wrong_answer": 1}
    # Its answer was seen: it is decided, and does not take a unit again.
    again = ledger.reserve([ask("a")])
    assert (again.granted, again.rejected, again.entries) == ((), {"a": "wrong_answer"}, ())


def test_a_failed_call_may_be_tried_again():
    ledger = Ledger(Caps(examples=1, calls=2))
    ledger.reserve([ask("a")])
    ledger.reject([Reject("a", "engine_error")])
    assert ledger.remaining() == Caps(examples=1, calls=1)
    assert ledger.reserve([ask("a", stage=2)]).granted == ("a",)
    ledger.settle([Settle("a", 1, 1)])
    assert ledger.status("a") == "settled"
    assert ledger.remaining() == Caps(examples=0, calls=0)
    assert ledger.summary().by_stage["2"].units == 1


def test_a_named_call_is_reserved_once_and_released_by_its_name():
    ledger = Ledger(Caps(examples=1, calls=2, tokens=20))
    first, second = ask("a", call="first"), ask("a", call="second", max_tokens=5)
    assert ledger.reserve([first]).entries == (first,)
    assert ledger.reserve([first]).entries == ()  # the reply to the first try was lost
    assert ledger.reserve([first]).granted == ("a",)
    ledger.reserve([second])
    assert total(ledger).calls == 2
    assert list(ledger.open_calls()) == [Release("a", "second"), Release("a", "first")]
    assert ledger.release([Release("a", "third")]) == ()
    assert ledger.release([Release("a", "first")]) == (Release("a", "first"),)
    assert (total(ledger).calls, total(ledger).units, total(ledger).held_tokens) == (1, 1, 5)
    assert ledger.status("a") == "open"  # the second may have been made: it keeps the unit
    ledger.release([Release("a", "second")])
    assert (total(ledger).calls, total(ledger).units, total(ledger).held_tokens) == (0, 0, 0)
    assert ledger.status("a") == "released"
    assert from_record(to_record(first)) == first
    assert "call" not in to_record(ask("a"))


def test_a_call_that_was_not_made_is_taken_back_whole():
    ledger = Ledger(Caps(examples=1, calls=1, tokens=10, cost=1.0), (Prices(1, 2),))
    ledger.reserve([ask("a", prompt_tokens=4)])
    assert ledger.reserve([ask("b")]).refused == {"b": "examples"}
    assert ledger.release([Release("a")]) == (Release("a"),)
    assert ledger.release([Release("a")]) == ()
    assert ledger.remaining() == ledger.caps
    assert (ledger.status("a"), total(ledger).calls) == ("released", 0)
    assert ledger.reserve([ask("a")]).granted == ("a",)
    ledger.settle([Settle("a", 1, 1)])
    assert ledger.release([Release("a")]) == ()
    assert (total(ledger).calls, ledger.status("a")) == (1, "settled")


@pytest.mark.parametrize("unsent", ["first", "second"])
def test_a_call_that_was_not_sent_is_released_although_another_was_answered(unsent):
    """Two runs may ask for the same; the settlement does not say whose call was answered."""
    ledger = Ledger(Caps(tokens=100), (Prices(1, 1),))
    ledger.reserve([ask("a", max_tokens=10, call="first")])
    ledger.reserve([ask("a", max_tokens=30, call="second")])
    ledger.settle([Settle("a", 2, 3)])
    assert total(ledger).calls == 2
    assert {release.call for release in ledger.open_calls()} == {"first", "second"}
    assert ledger.release([Release("a")]) == ()
    assert ledger.release([Release("a", unsent)]) == (Release("a", unsent),)
    assert list(ledger.open_calls()) == []
    assert ledger.release([Release("a", unsent)]) == ()
    spent = total(ledger)
    assert (spent.calls, spent.units, spent.held_tokens, spent.held_cost) == (1, 1, 0, 0)
    assert ledger.status("a") == "settled"


def test_a_call_that_was_sent_stays_counted_where_another_found_a_stored_answer():
    ledger = Ledger(Caps())
    ledger.reserve([ask("a", max_tokens=30, call="sent")])
    ledger.reserve([ask("a", max_tokens=10, call="unsent")])
    ledger.settle([Settle("a", reused=True)])
    assert ledger.release([Release("a", "unsent")]) == (Release("a", "unsent"),)
    assert list(ledger.open_calls()) == [Release("a", "sent")]
    assert (total(ledger).calls, total(ledger).held_tokens) == (1, 30)


def test_a_reservation_that_is_sent_again_after_another_call_was_answered_calls_nobody():
    ledger = Ledger(Caps())
    first, second = (ask("a", call=call) for call in ("first", "second"))
    ledger.reserve([first])
    ledger.reserve([second])
    ledger.settle([Settle("a", 2, 3)])
    for again in (first, second):
        grants = ledger.reserve([again])
        assert grants.settled == {"a"}
        assert grants.entries == ()


def test_a_release_leaves_what_an_earlier_call_may_have_cost():
    ledger = Ledger(Caps(calls=2))
    ledger.reserve([ask("a")])
    ledger.reject([Reject("a", "timed out")])
    assert total(ledger).rejected == {"timed out": 1}
    ledger.reserve([ask("a")])
    assert total(ledger).rejected == {}  # it is on its way again
    ledger.release([Release("a")])
    assert (total(ledger).calls, total(ledger).units, total(ledger).held_tokens) == (1, 0, 10)


def test_a_request_named_twice_in_a_batch_is_one():
    ledger = Ledger(Caps())
    assert ledger.reserve([ask("a"), ask("a")]).granted == ("a",)
    assert total(ledger).calls == 1


def test_summary_adds_up_on_every_side():
    ledger = Ledger(Caps(examples=10), (Prices(1, 2),))
    ledger.reserve(
        [
            ask("a", domain="x"),
            ask("b", domain="y", stage=2, purpose="synthesis"),
            ask("c", domain="y", stage=10, purpose="verification", units=0),
        ]
    )
    ledger.settle([Settle("a", 4, 6), Settle("b", 1, 2)])
    ledger.reject([Reject("b", "duplicate")])
    summary = ledger.summary()
    assert list(summary.by_stage) == ["1", "2", "10"]
    assert list(summary.by_domain) == ["x", "y"]
    assert list(summary.by_purpose) == ["rationale", "synthesis", "verification"]
    for table in (summary.by_stage, summary.by_domain, summary.by_purpose):
        for name in ("calls", "units", "prompt_tokens", "completion_tokens", "requests"):
            assert sum(getattr(part, name) for part in table.values()) == getattr(
                summary.total, name
            )
        assert sum((Counter(part.rejected) for part in table.values()), Counter()) == {
            "duplicate": 1
        }
    assert summary.total.cost == pytest.approx((5 * 1 + 8 * 2) / 1e6)
    figures = json.loads(json.dumps(summary.to_dict()))
    assert figures["by_domain"]["x"]["units"] == 1
    assert figures["remaining"]["examples"] == 9


def test_each_teacher_of_a_cascade_has_its_own_prices():
    ledger = Ledger(Caps(cost=1.0), (Prices(), Prices(10_000, 30_000)))
    ledger.reserve([ask("cheap"), ask("dear", tier=2, prompt_tokens=4), ask("dear too", tier=2)])
    assert total(ledger).held_cost == pytest.approx(4 * 0.01 + 6 * 0.03 + 10 * 0.03)
    ledger.settle([Settle("cheap", 100, 100), Settle("dear", 4, 2)])
    summary = ledger.summary()
    assert [summary.by_tier[tier].cost for tier in ("1", "2")] == pytest.approx([0, 0.1])
    assert ledger.remaining().cost == pytest.approx(1.0 - 0.1 - 0.3)
    rows = {row.request_id: row for row in ledger.requests()}
    assert (rows["dear"].tier, rows["dear"].status, rows["dear"].cost) == (2, "settled", 0.1)
    assert (rows["dear too"].status, rows["dear too"].calls) == ("open", 1)
    # what one teacher was asked under an id stays its own, whoever asks for it again
    ledger.reserve([ask("cheap", tier=2)])
    assert ledger.summary() == summary


@pytest.mark.parametrize(
    "entry",
    [
        ask("a", units=0, prompt_tokens=3, calls=0),
        Settle("a", 3, 4, reused=True),
        Reject("a", "wrong_answer"),
        Release("a"),
    ],
)
def test_entries_survive_json_and_a_table_with_all_columns(entry):
    record = json.loads(json.dumps(to_record(entry)))
    assert from_record(record) == entry
    assert from_record({"reason": None, "domain": None, "extra": None} | record) == entry


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Ledger(Caps()).settle([Settle("a")]), "never reserved"),
        (lambda: Ledger(Caps()).reject([Reject("a", "x")]), "never reserved"),
        (lambda: Ledger(Caps()).release([Release("a")]), "never reserved"),
        (lambda: Ledger.replay(Caps(), [Settle("a")]), "never reserved"),
        (lambda: Ledger(Caps(tokens=5)).reserve([ask("a", max_tokens=0)]), "max_tokens"),
        (lambda: Caps(calls=-1), "cap on calls"),
        (lambda: Prices(-1), "prices"),
        (lambda: ask("a", units=2), "units"),
        (lambda: ask("a", tier=0), "tiers"),
        (lambda: ask("a", purpose="fun"), "purpose"),
        (lambda: ask("a", prompt_tokens=11), "prompt_tokens"),
        (lambda: Settle("a", -1), "negative"),
        (lambda: from_record({"kind": "gift"}), "kind 'gift'"),
        (lambda: from_record({"kind": "reject", "request_id": "a"}), "incomplete"),
    ],
)
def test_mistakes_are_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()


class Run(RuleBasedStateMachine):
    """Several workers, two teachers, one ledger, and crashes anywhere.

    `durable` is what storage holds; `called` counts real calls of the teacher, `tokens` what
    they really used, `answered` which answers are stored, `noted` the names of the calls that were
    sent, if calls have names.
    """

    CAPS = Caps(examples=6, calls=12, tokens=90, cost=0.15)
    PRICES = (Prices(1_000, 2_000), Prices(3_000, 1_000))

    def __init__(self) -> None:
        super().__init__()
        self.durable: list[dict] = []
        self.ledger = Ledger(self.CAPS, self.PRICES)
        self.in_flight: list[Reserve] = []
        self.waiting: list[Settle] = []
        self.stored: dict[str, Settle] = {}
        self.called: Counter[str] = Counter()
        self.tokens = 0
        self.cost = 0
        self.noted: set[str] = set()
        self.names = itertools.count()

    @initialize(named=st.booleans())
    def begin(self, named) -> None:
        self.named = named

    @staticmethod
    def tier(name: str) -> int:
        return 1 if name < "g" else 2

    def persist(self, entries) -> None:
        self.durable += [json.loads(json.dumps(to_record(entry))) for entry in entries]

    @rule(
        names=st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=4),
        units=st.integers(0, 1),
        bound=st.integers(1, 12),
        crash=st.booleans(),
    )
    def reserve(self, names, units, bound, crash) -> None:
        asked = [
            ask(
                name,
                units=units,
                max_tokens=bound,
                calls=int(name not in self.stored),
                tier=self.tier(name),
                call=f"call {next(self.names)}" if self.named and name not in self.stored else "",
            )
            for name in dict.fromkeys(names)
        ]
        grants = self.ledger.reserve(asked)
        assert not set(grants.granted) & (set(grants.refused) | set(grants.rejected))
        if crash:  # between the decision and its being durable: nobody heard of it
            return self.restart()
        self.persist(grants.entries)
        by_name = {request.request_id: request for request in asked}
        for name in grants.granted:
            if name in grants.settled:
                assert name in self.stored
            elif name in self.stored:
                self.waiting.append(Settle(name, reused=True))
            else:
                self.in_flight.append(by_name[name])

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def call(self, data) -> None:
        """The teacher is called: the money is gone, whatever happens next."""
        at = data.draw(st.integers(0, len(self.in_flight) - 1))
        request = self.in_flight.pop(at)
        name = request.request_id
        assert self.ledger.status(name) != "settled" or name in self.stored
        used = data.draw(st.integers(0, request.max_tokens))
        prompt = data.draw(st.integers(0, used))
        self.noted.add(request.call)
        self.called[name] += 1
        self.tokens += used
        prices = self.PRICES[request.tier - 1]
        self.cost += prompt * int(prices.prompt_per_million)
        self.cost += (used - prompt) * int(prices.completion_per_million)
        answer = Settle(name, prompt, used - prompt)
        if data.draw(st.booleans()):
            self.stored.setdefault(name, answer)
            self.waiting.append(answer)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), crash=st.booleans())
    def release(self, data, crash) -> None:
        """A call is not made after all."""
        at = data.draw(st.integers(0, len(self.in_flight) - 1))
        request = self.in_flight.pop(at)
        entries = self.ledger.release([Release(request.request_id, request.call)])
        if crash:
            return self.restart()
        self.persist(entries)

    @precondition(lambda self: self.waiting)
    @rule(crash=st.booleans())
    def settle(self, crash) -> None:
        batch, self.waiting = self.waiting[:2], self.waiting[2:]
        entries = self.ledger.settle(batch)
        if crash:
            return self.restart()
        self.persist(entries)

    @rule(name=st.sampled_from("abcdefghijkl"), crash=st.booleans())
    def reject(self, name, crash) -> None:
        if self.ledger.status(name) is None:
            return
        entries = self.ledger.reject([Reject(name, "wrong_answer")])
        if crash:
            return self.restart()
        self.persist(entries)

    @rule()
    def restart(self) -> None:
        self.ledger = Ledger.replay(self.CAPS, map(from_record, self.durable), self.PRICES)
        self.in_flight, self.waiting = [], []
        unsent = [entry for entry in self.ledger.open_calls() if entry.call not in self.noted]
        self.persist(self.ledger.release(unsent))

    @invariant()
    def a_call_that_was_not_sent_is_not_counted(self) -> None:
        if self.named:
            assert total(self.ledger).calls <= self.called.total() + len(self.in_flight)

    @invariant()
    def nothing_passes_a_cap(self) -> None:
        spent = total(self.ledger)
        assert spent.units <= self.CAPS.examples
        assert spent.calls <= self.CAPS.calls
        assert self.called.total() <= self.CAPS.calls
        assert self.tokens <= self.CAPS.tokens
        assert self.cost <= self.CAPS.cost * 1_000_000
        assert spent.cost + spent.held_cost <= self.CAPS.cost + 1e-9

    @invariant()
    def the_ledger_never_counts_less_than_what_happened(self) -> None:
        spent = total(self.ledger)
        assert spent.calls >= self.called.total()
        assert spent.prompt_tokens + spent.completion_tokens + spent.held_tokens >= self.tokens
        assert spent.cost + spent.held_cost >= self.cost / 1_000_000 - 1e-9

    @invariant()
    def every_side_adds_up(self) -> None:
        summary, requests = self.ledger.summary(), list(self.ledger.requests())
        by_tier = [summary.by_tier.get(str(tier)) for tier in (1, 2)]
        for name in ("units", "calls", "prompt_tokens", "completion_tokens", "cost"):
            whole = pytest.approx(getattr(summary.total, name))
            assert sum(getattr(spent, name) for spent in by_tier if spent) == whole
            assert sum(getattr(request, name) for request in requests) == whole
        assert all(request.tier == self.tier(request.request_id) for request in requests)

    @invariant()
    def replay_is_the_live_state(self) -> None:
        entries = map(from_record, self.durable)
        assert Ledger.replay(self.CAPS, entries, self.PRICES) == self.ledger


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
