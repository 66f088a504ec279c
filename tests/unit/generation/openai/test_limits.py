"""Rates, places and waits: nothing here depends on how fast the machine is."""

from __future__ import annotations

import asyncio
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.generation.openai.limits import Rate, Slots, asked_wait, backoff

STEPS = st.lists(
    st.tuples(st.floats(0, 5), st.floats(0.1, 40)), min_size=1, max_size=60
)  # seconds since the one before, amount


@given(per_minute=st.floats(1, 1e4), steps=STEPS)
def test_no_window_of_time_gets_more_than_its_rate_and_one_burst(
    per_minute: float, steps: list[tuple[float, float]]
) -> None:
    rate, now, granted = Rate(per_minute), 0.0, []
    for pause, amount in steps:
        now += pause
        granted.append((now + rate.take(amount, now), amount))
    granted.sort()
    flow, burst = per_minute / 60, max(1.0, per_minute / 60)
    for first, (start, _) in enumerate(granted):
        total = 0.0
        for end, amount in granted[first:]:
            # what is larger than the bucket is let go when the bucket is full
            total += amount
            allowed = flow * (end - start) + burst + max(0.0, amount - burst)
            assert total <= allowed * (1 + 1e-6) + granted[first][1] + 1e-6


def test_an_amount_given_back_can_be_taken_again() -> None:
    rate = Rate(600)
    assert rate.take(10, 0.0) == 0.0
    assert rate.take(10, 0.0) == pytest.approx(1.0)
    rate.give_back(10, 0.0)
    assert rate.take(5, 0.0) == pytest.approx(0.5)
    rate.give_back(-10, 0.0)  # it cost more than was thought
    assert rate.take(1, 0.0) == pytest.approx(1.6)


def test_a_row_larger_than_the_bucket_has_its_turn() -> None:
    rate = Rate(60)
    assert rate.take(100, 0.0) == 0.0
    assert rate.take(100, 1000.0) == 0.0
    assert rate.take(1, 1000.0) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "60"}, 0.25),
        ({"retry-after": email.utils.formatdate(1000.0, usegmt=True)}, 40.0),
        ({"retry-after": email.utils.formatdate(900.0, usegmt=True)}, 0.0),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_waits_as_servers_ask_for_them(headers: dict[str, str], wait: float | None) -> None:
    assert asked_wait(headers, 960.0) == wait


def test_the_backoff_doubles_up_to_a_limit() -> None:
    for failures in range(1, 200):
        longest = min(30.0, 0.5 * 2 ** (failures - 1))
        assert 0.75 * longest <= backoff(failures) <= longest


def test_the_oldest_row_gets_the_next_slot() -> None:
    order: list[int] = []

    async def row(slots: Slots, age: int) -> None:
        async with slots.hold(age):
            order.append(age)
            await asyncio.sleep(0)

    async def main() -> None:
        slots = Slots(1)
        async with slots.hold(0):
            rows = [asyncio.create_task(row(slots, age)) for age in (5, 3, 9, 1, 4)]
            await asyncio.sleep(0)
            rows[1].cancel()
        await asyncio.gather(*rows, return_exceptions=True)
        async with slots.hold(0):  # the place of the cancelled one is not lost
            pass

    asyncio.run(main())
    assert order == [1, 4, 5, 9]
