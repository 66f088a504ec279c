"""Decide how many runs a cluster holds at the same time: pure, and never so many that they hang."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter

from baldistill.config import Config
from baldistill.errors import ResourceError
from baldistill.placement.packing import Amounts, Demand, describe_nodes, fits
from baldistill.placement.resources import RAY_DATA, Cluster, Placement, nodes_of, place

_DRIVER = Demand("driver", {"CPU": 1.0})


def num_parallel_runs(
    configs: Sequence[Config], cluster: Cluster, runs: int, parallel: int | None = None
) -> int:
    """Return how many runs to start at a time: as many as the user wants, or as many as fit.

    A run with each of the configs must fit beside others like itself.

    Raises:
        ResourceError: So many do not fit; or as `place`. One run that fits alone is never refused.
    """
    wanted = runs if parallel is None else min(runs, parallel)
    width, nodes = min(
        (
            (_num_fitting(nodes, placement, wanted), nodes)
            for nodes, placement in _distinct_placements(configs, cluster)
        ),
        key=itemgetter(0),
    )
    if parallel is not None and width < wanted:
        raise ResourceError(
            f"--parallel {parallel} does not fit: the engines, training workers and drivers of "
            f"{wanted} runs at a time are more than the cluster holds ({describe_nodes(nodes)}): "
            f"at most --parallel {width}, or lower replicas, num_workers or the resources of each"
        )
    return width


def _distinct_placements(
    configs: Sequence[Config], cluster: Cluster
) -> list[tuple[Sequence[Amounts], Placement]]:
    found: list[tuple[Sequence[Amounts], Placement]] = []
    for config in configs:
        pair = nodes_of(config, cluster), place(config, cluster)
        if pair not in found:
            found.append(pair)
    return found


def _num_fitting(nodes: Sequence[Amounts], placement: Placement, most: int) -> int:
    """Return the most equal runs that fit, by bisection; at least the one that fits alone."""
    if placement.num_workers == 0 and any(node.get("GPU", 0.0) for node in nodes):
        return 1  # a driver that trains takes the first GPU that it sees, without reserving it
    low = 1
    while low < most:
        middle = (low + most + 1) // 2
        if all(fits(nodes, _for_runs(step, middle)) for step in _steps(placement)):
            low = middle
        else:
            most = middle - 1
    return low


def _steps(placement: Placement) -> Iterator[list[Demand]]:
    """Yield what one run holds at the same time, step by step."""
    # Of each pool all engines count, also those that may join later.
    asking = [
        pool.demand(f"teacher {i}", pool.max_replicas) for i, pool in enumerate(placement.teachers)
    ]
    answering = [placement.student.demand("student", placement.student.max_replicas)]
    training = [Demand("training", placement.worker, placement.num_workers)]
    if placement.take_turns:
        yield from ([*asking, RAY_DATA], [*answering, RAY_DATA], training)
    else:
        yield from ([*asking, *answering, task] for task in (RAY_DATA, *training))


def _for_runs(step: Sequence[Demand], runs: int) -> list[Demand]:
    """Return the demands of several equal runs, each with its driver."""
    return [replace(demand, count=runs * demand.count) for demand in (*step, _DRIVER)]
