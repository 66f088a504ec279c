"""The checker of histories finds each broken promise, and accepts a history that keeps all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fault_matrix.history import (
    Call,
    Crash,
    History,
    Ledger,
    Limits,
    repeated,
    violations,
)
from hypothesis import given
from hypothesis import strategies as st

CALLS = (
    Call("a", 0, "served", 10),
    Call("b", 0, "failed"),  # in flight at the crash
    Call("b", 1, "refused"),
    Call("b", 1, "served", 10),
    Call("c", 1, "rejected"),
)
KEPT = History(
    CALLS,
    (Crash(0, frozenset("a"), most_in_flight=2),),
    Ledger(examples=2, calls=4, tokens=30),
    Limits(examples=2, calls=5, tokens=30),
    tables={"annotated": [1, 2]},
    expected={"annotated": [1, 2]},
)


def test_a_history_that_keeps_all_promises_has_no_violation() -> None:
    assert violations(KEPT) == []
    for calls in (3, 6):  # two in flight, one that was rejected and may be on the ledger
        assert violations(replace(KEPT, ledger=Ledger(2, calls, 30), limits=Limits())) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"complete": False}, "did not complete"),
        ({"ledger": Ledger(2, 2, 30)}, "the server has 3 calls, the ledger only 2"),
        ({"ledger": Ledger(2, 7, 30), "limits": Limits()}, "the ledger has 7 calls, the server 3"),
        ({"ledger": None}, "no ledger"),
        ({"calls": (*CALLS, Call("a", 1, "failed"))}, "1 answered requests were asked again"),
        ({"calls": (*CALLS, Call("b", 1, "served"))}, "1 answered requests were asked again"),
        ({"limits": Limits(examples=1)}, "the ledger has 2, the cap is 1"),
        ({"limits": Limits(calls=1)}, "the server has 2, the cap is 1"),
        ({"limits": Limits(tokens=19)}, "the server has 20, the cap is 19"),
        ({"limits": Limits(tokens=29)}, "the ledger has 30, the cap is 29"),
        ({"tables": {"annotated": [1]}}, "tables differ from the undisturbed run: annotated"),
        ({"tables": {}}, "tables differ"),
        ({"tables": {**KEPT.tables, "more": 1}}, "tables differ from the undisturbed run: more"),
    ],
)
def test_each_broken_promise_is_named(change: dict[str, object], words: str) -> None:
    found = violations(replace(KEPT, **change))
    assert any(words in sentence for sentence in found), found


def test_a_senseless_reply_may_cost_its_call_and_the_next_on_its_connection() -> None:
    calls = (*CALLS, Call("d", 1, "unknown"))
    for ledger in (3, 8):
        kept = replace(KEPT, calls=calls, ledger=Ledger(2, ledger, 30), limits=Limits())
        assert violations(kept) == []
    assert violations(replace(kept, ledger=Ledger(2, 9, 30)))


def test_an_answer_on_its_way_at_the_crash_may_be_asked_again() -> None:
    calls = (Call("a", 0, "served", 10), Call("a", 1, "served", 10))
    on_its_way = History(calls, (Crash(0, frozenset(), 1),), Ledger(1, 2, 20))
    assert violations(on_its_way) == []
    stored = replace(on_its_way, crashes=(Crash(0, frozenset("a"), 1),))
    assert repeated(stored) == ["a"]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=30),
    st.integers(0, 30),
)
def test_a_store_that_forgets_nothing_repeats_nothing(
    asked: list[tuple[str, bool]], crash_at: int
) -> None:
    """Ask as a run does: never for what is stored; a crash loses what is not stored."""
    calls: list[Call] = []
    stored: set[str] = set()
    crashes: list[Crash] = []
    for number, (key, is_lost) in enumerate(asked):
        if number == crash_at:
            crashes.append(Crash(0, frozenset(stored), 1))
        if key in stored:
            continue
        calls.append(Call(key, len(crashes), "failed" if is_lost else "served", 5))
        stored |= set() if is_lost else {key}
    ledger = Ledger(len(stored), len(calls), 5 * len(calls))
    assert violations(History(calls, crashes, ledger)) == []
    if calls:
        short = replace(ledger, calls=len(calls) - 1)
        assert violations(History(calls, crashes, short))
