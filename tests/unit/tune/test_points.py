"""From parameters to points and back to config keys; where points come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.tune.points import (
    OptunaPoints,
    Variable,
    grid_points,
    listed_points,
    random_point,
    settings,
    variables,
)
from baldistill.tune.space import FloatRange, IntRange, Space, parse_space


def space_of(shape: str, **more: object) -> Space:
    parameters = {"s": {"kind": "per_stage", "shape": shape, "low": 0.2, "high": 0.8}, **more}
    return parse_space("search: grid", "test", {"parameters": parameters})


def test_a_split_by_stage_is_one_two_or_k_numbers() -> None:
    names = {
        shape: [variable.name for variable in variables(space_of(shape), 3)]
        for shape in ("constant", "linear", "free")
    }
    assert names == {
        "constant": ["s"],
        "linear": ["s.first", "s.last"],
        "free": ["s.1", "s.2", "s.3"],
    }
    assert settings(space_of("constant"), {"s": 0.3}, 3) == {"s": [0.3, 0.3, 0.3]}
    linear = settings(space_of("linear"), {"s.first": 0.2, "s.last": 0.8}, 3)
    assert linear == {"s": [0.2, 0.5, 0.8]}
    assert settings(space_of("linear"), {"s.first": 0.2, "s.last": 0.8}, 1) == {"s": [0.2]}
    free = settings(space_of("free"), {"s.1": 0.2, "s.2": 0.8, "s.3": 0.4}, 3)
    assert free == {"s": [0.2, 0.8, 0.4]}


def test_a_constant_list_follows_the_number_of_stages() -> None:
    space = space_of("constant", stages={"kind": "choice", "values": [2, 5]})
    assert settings(space, {"s": 0.3, "stages": 1}, 4)["s"] == [0.3] * 5


def test_a_grid_has_both_ends_and_every_combination() -> None:
    names = [
        Variable("a", FloatRange(low=1e-4, high=1e-2, log=True, points=3)),
        Variable("b", IntRange(low=1, high=6, step=2)),
    ]
    points = grid_points(names)
    assert [point["a"] for point in points[::3]] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert [point["b"] for point in points[:3]] == [1, 3, 5]
    assert len(points) == 9


@given(st.integers(0, 2**31 - 1), st.integers(1, 50))
def test_random_points_lie_inside_and_depend_on_seed_and_number_alone(
    seed: int, number: int
) -> None:
    names = [
        Variable("a", FloatRange(low=1e-4, high=3e-3, log=True)),
        Variable("b", IntRange(low=-2, high=5, step=3)),
    ]
    point = random_point(names, seed, number)
    assert point == random_point(names, seed, number)
    assert 1e-4 <= point["a"] <= 3e-3
    assert point["b"] in (-2, 1, 4)


def test_more_random_trials_keep_the_first_ones() -> None:
    def points(trials: int) -> list[dict[str, object]] | None:
        space = space_of("free").model_copy(update={"search": "random", "trials": trials})
        return listed_points(space, variables(space, 4))

    assert points(3) == (points(5) or [])[:3]


def test_optuna_learns_what_it_is_told_and_never_asked() -> None:
    pytest.importorskip("optuna")
    names = [Variable("x", FloatRange(low=0.0, high=1.0))]
    source = OptunaPoints(names, 1, seed=0)
    for number in range(1, 13):  # recorded by a sweep that was killed
        x = number / 12
        source.tell({"x": x}, [-((x - 0.25) ** 2)])
    asked = []
    for number in range(13, 33):
        point = source.next(number)
        asked.append(point["x"])
        source.tell(point, [-((point["x"] - 0.25) ** 2)])
    assert all(0 <= x <= 1 for x in asked)
    near = [abs(x - 0.25) for x in asked]
    assert sum(near) / len(near) < 0.2, "a uniform sample is 0.31 away"


def test_optuna_takes_failures_and_two_metrics() -> None:
    pytest.importorskip("optuna")
    source = OptunaPoints([Variable("n", IntRange(low=1, high=9, step=2))], 2, seed=1)
    source.tell({"n": 3}, None)
    point = source.next(2)
    assert point["n"] in (1, 3, 5, 7, 9)
    source.tell(point, [0.5, 0.25])
    source.tell(source.next(3), None)
