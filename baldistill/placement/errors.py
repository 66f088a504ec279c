"""Say why a run does not fit a cluster: what is missing, what there is, what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from baldistill.placement.packing import (
    ACCELERATOR_PREFIX,
    Amounts,
    Demand,
    describe_amounts,
    describe_nodes,
    fits,
    nodes_with,
    pack,
)

_TRAINING = "student.num_workers"


def why_it_does_not_fit(nodes: Sequence[Amounts], step: Sequence[Demand]) -> str:
    """Return the message for demands that do not fit the nodes side by side."""
    for demand in step:
        if not fits(nodes, [demand]):
            reason = _why_not_alone(nodes, demand)
            break
    else:
        reason = _why_not_together(step)
    return (
        f"{reason}. The cluster has {describe_nodes(nodes)}; what one with an autoscaler can have "
        "stands under cluster.nodes"
    )


def _why_not_alone(nodes: Sequence[Amounts], demand: Demand) -> str:
    """Say why a demand does not even fit by itself."""
    section = _section(demand)
    for name in demand.bundle:
        if nodes_with(nodes, {name: demand.bundle[name]}):
            continue
        if name.startswith(ACCELERATOR_PREFIX):
            wanted = name.removeprefix(ACCELERATOR_PREFIX)
            return (
                f"{section}.accelerator_type={wanted}, and no node has one"
                f"{_names_there_are(nodes, accelerators=True)}"
            )
        if name not in ("CPU", "GPU"):
            return (
                f"{section}.custom_resources asks for {name!r}, which no node has"
                f"{_names_there_are(nodes, accelerators=False)}"
            )
    group = describe_amounts(demand.group)
    if not fits(nodes, [replace(demand, count=1)]):
        lacking = "on one node, and no node has" if demand.one_node else "and the nodes do not have"
        return f"{_one_process(demand)} needs {group} {lacking} that: lower {_size_key(demand)}"
    placed = pack(nodes, [demand])[demand.key]
    return (
        f"{_all_processes(demand)} need {demand.count} x ({group}), and the nodes hold {placed}: "
        f"lower {_count_key(demand)}"
    )


def _why_not_together(step: Sequence[Demand]) -> str:
    """Say what is needed in all, where each demand fits by itself."""
    needs = " + ".join(
        f"{demand.key} {demand.count} x ({describe_amounts(demand.group)})" for demand in step
    )
    total: dict[str, float] = {}
    for demand in step:
        for name, amount in demand.group.items():
            if not name.startswith(ACCELERATOR_PREFIX):
                total[name] = total.get(name, 0.0) + amount * demand.count
    keys = list(dict.fromkeys(_count_key(d) for d in step if d.key != "Ray Data"))
    keep = ", or leave cluster.keep_warm at `auto`" if len(keys) > 1 else ""
    return (
        f"the run needs {describe_amounts(total)} at "
        f"the same time ({needs}), and the nodes do not hold that: lower {' or '.join(keys)} or "
        f"the resources of each{keep}"
    )


def _section(demand: Demand) -> str:
    return "student.worker_resources" if demand.key == _TRAINING else demand.key


def _one_process(demand: Demand) -> str:
    if demand.key == "Ray Data":
        return "Ray Data"
    return "a training worker" if demand.key == _TRAINING else f"an engine of {demand.key}"


def _all_processes(demand: Demand) -> str:
    return "the training workers" if demand.key == _TRAINING else f"the engines of {demand.key}"


def _size_key(demand: Demand) -> str:
    """Return the config keys that make one group smaller."""
    if demand.key == "Ray Data":
        return "nothing: give the cluster a CPU"
    if demand.size > 1:
        return f"{demand.key.removesuffix('.resources')}.tensor_parallel_size"
    return f"{_section(demand)}.num_cpus, num_gpus or custom_resources"


def _count_key(demand: Demand) -> str:
    """Return the config key that says how many groups there are."""
    return demand.key if demand.key == _TRAINING else f"{demand.key}.replicas"


def _names_there_are(nodes: Sequence[Amounts], *, accelerators: bool) -> str:
    names = sorted(
        {
            name.removeprefix(ACCELERATOR_PREFIX)
            for node in nodes
            for name in node
            if name not in ("CPU", "GPU") and name.startswith(ACCELERATOR_PREFIX) == accelerators
        }
    )
    return f" (they have: {', '.join(names)})" if names else ""
