"""Nodes and what they hold, node by node and GPU by GPU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.placement.packing import (
    Amounts,
    Demand,
    bundle_of,
    capacity,
    describe_nodes,
    fits,
    pack,
)


def node(cpus: float = 16, gpus: float = 0, **other: float) -> Amounts:
    return {"CPU": cpus, "GPU": gpus, **other}


def engine(num_gpus: float, count: int = 1, **options: object) -> Demand:
    return Demand("engine", bundle_of(1, num_gpus), count, **options)  # type: ignore[arg-type]


def test_a_whole_gpu_does_not_fit_two_half_free_ones() -> None:
    shared = Demand("shared", bundle_of(0, 0.5), count=2)
    apart = [Demand(f"half {i}", bundle_of(0, 0.6)) for i in range(2)]
    assert fits([node(gpus=2)], [shared, engine(1)]), "two halves share one GPU"
    assert not fits([node(gpus=2)], [*apart, engine(1)]), "0.8 GPUs are left, on two"
    assert fits([node(gpus=3)], [*apart, engine(1)])


def test_an_engine_of_several_gpus_stays_on_a_node_unless_it_may_spread() -> None:
    halves = [node(gpus=4), node(gpus=4)]
    assert not fits(halves, [engine(1, size=8, one_node=True)])
    assert fits(halves, [engine(1, size=8, one_node=False)])
    assert not fits(halves, [engine(1, size=9, one_node=False)])
    assert capacity([node(gpus=8), *halves], engine(1, size=4)) == 4
    assert capacity([node(gpus=6), node(gpus=6)], engine(1, size=4)) == 2


def test_custom_resources_and_accelerators_choose_the_nodes() -> None:
    nodes = [
        {**node(gpus=8), "teacher": 8.0, "accelerator_type:A100": 1.0},
        {**node(gpus=4), "accelerator_type:L4": 1.0},
    ]
    assert capacity(nodes, Demand("a", bundle_of(1, 1, None, {"teacher": 1}))) == 8
    assert capacity(nodes, Demand("b", bundle_of(1, 1, "L4"))) == 4
    assert capacity(nodes, Demand("c", bundle_of(1, 1, "L4", {"teacher": 1}))) == 0
    assert capacity(nodes, Demand("d", bundle_of(1, 1))) == 12


def test_demands_that_fit_few_nodes_are_placed_first() -> None:
    nodes = [{**node(gpus=1), "teacher": 1.0}, node(gpus=1)]
    anywhere = Demand("anywhere", bundle_of(0, 1))
    pinned = Demand("pinned", bundle_of(0, 1, None, {"teacher": 1}))
    assert pack(nodes, [anywhere, pinned]) == {"anywhere": 1, "pinned": 1}


def test_work_without_a_gpu_goes_to_nodes_without_one() -> None:
    nodes = [node(cpus=4, gpus=4), node(cpus=4)]
    data = Demand("data", bundle_of(4, 0))
    assert fits(nodes, [data, Demand("gpu", bundle_of(1, 1), count=4)])


def test_nodes_are_described_by_what_they_have() -> None:
    nodes = [node(gpus=8), node(gpus=8), {"CPU": 8.0, "teacher": 2.0, "accelerator_type:L4": 1.0}]
    assert describe_nodes(nodes) == "2 x (16 CPU, 8 GPU) + 1 x (8 CPU, 2 teacher, L4)"


amounts = st.sampled_from([0.25, 0.5, 1.0, 2.0])


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4)), min_size=1, max_size=4),
    st.lists(st.tuples(amounts, amounts, st.integers(1, 4)), min_size=1, max_size=4),
)
def test_nothing_is_reserved_twice(
    sizes: list[tuple[int, int]], wanted: list[tuple[float, float, int]]
) -> None:
    nodes = [node(cpus, gpus) for cpus, gpus in sizes]
    demands = [
        Demand(str(i), bundle_of(cpus, gpus), count) for i, (cpus, gpus, count) in enumerate(wanted)
    ]
    placed = pack(nodes, demands)
    for name in ("CPU", "GPU"):
        used = sum(placed[demand.key] * demand.bundle[name] for demand in demands)
        assert used <= sum(n[name] for n in nodes) + 1e-6
    assert fits(nodes, demands) == all(placed[d.key] == d.count for d in demands)


@given(st.integers(1, 4), st.integers(1, 8), st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]))
def test_capacity_is_exact_for_equal_nodes(number: int, gpus: int, share: float) -> None:
    each = gpus // share if share >= 1 else gpus * (1 / share)
    nodes = [node(cpus=64, gpus=gpus)] * number
    assert capacity(nodes, Demand("a", bundle_of(0, share))) == number * int(each)


@pytest.mark.parametrize("gpus", [0.0, 1.0])
def test_a_bundle_has_no_amounts_of_zero(gpus: float) -> None:
    bundle = bundle_of(0, gpus, "H100", {"student": 1})
    assert bundle == {
        **({"GPU": 1.0} if gpus else {}),
        "student": 1,
        "accelerator_type:H100": 0.001,
    }
