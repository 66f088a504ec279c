"""How many runs a cluster holds at the same time: pure, and never more than would wait for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter

from baldistill.config import Config
from baldistill.errors import ResourceError
from baldistill.placement.packing import Amounts, Demand, describe, fits
from baldistill.placement.resources import DATA, Cluster, Placement, PoolShape, nodes_of, place

_DRIVER = Demand("driver", {"CPU": 1.0})


def side_by_side(
    configs: Sequence[Config], cluster: Cluster, runs: int, parallel: int | None = None
) -> int:
    """How many runs go side by side: as many as wanted, or as many as fit.

    Args:
        configs: Those of the runs. Each must fit beside others like itself.
        cluster: What there is.
        runs: How many there are to do.
        parallel: How many the user wants at a time; by default as many as fit.

    Raises:
        ResourceError: So many do not fit; or as `place`. One run that fits alone is never refused.
    """
    wanted = runs if parallel is None else min(runs, parallel)
    different = _different(configs, cluster)
    width, nodes = min(
        ((_fitting(nodes, shape, wanted), nodes) for nodes, shape in different), key=itemgetter(0)
    )
    if parallel is not None and width < wanted:
        raise ResourceError(
            f"--parallel {parallel} does not fit: the engines, training workers and drivers of "
            f"{wanted} runs at a time are more than the cluster holds ({describe(nodes)}): at "
            f"most --parallel {width}, or lower replicas, num_workers or the resources of each"
        )
    return width


def _different(
    configs: Sequence[Config], cluster: Cluster
) -> list[tuple[Sequence[Amounts], Placement]]:
    """Nodes and placements of the configs, each once."""
    found: list[tuple[Sequence[Amounts], Placement]] = []
    for config in configs:
        pair = nodes_of(config, cluster), place(config, cluster)
        if pair not in found:
            found.append(pair)
    return found


def _fitting(nodes: Sequence[Amounts], shape: Placement, most: int) -> int:
    """The most equal runs that fit, by bisection; at least the one that fits alone."""
    if shape.num_workers == 0 and any(node.get("GPU", 0.0) for node in nodes):
        return 1  # a driver that trains takes the first GPU that it sees, without reserving it
    low = 1
    while low < most:
        middle = (low + most + 1) // 2
        if all(fits(nodes, _times(step, middle)) for step in _steps(shape)):
            low = middle
        else:
            most = middle - 1
    return low


def _steps(shape: Placement) -> Iterator[list[Demand]]:
    """What a run beside others holds at the same time, step by step."""
    asking = [_engines(f"teacher {i}", pool) for i, pool in enumerate(shape.teachers)]
    answering = [_engines("student", shape.student)]
    training = [Demand("training", shape.worker, shape.num_workers)]
    if shape.take_turns:
        yield from ([*asking, DATA], [*answering, DATA], training)
    else:
        yield from ([*asking, *answering, task] for task in (DATA, *training))


def _engines(key: str, pool: PoolShape) -> Demand:
    """All of a pool's engines, those included that join when there is a place for them."""
    return Demand(key, pool.bundle, pool.max_replicas, pool.size, pool.one_node)


def _times(step: Sequence[Demand], runs: int) -> list[Demand]:
    """The same of so many runs, each with its driver."""
    return [replace(demand, count=runs * demand.count) for demand in (*step, _DRIVER)]
