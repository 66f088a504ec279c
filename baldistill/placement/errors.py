"""Why a run does not fit a cluster, in words: what is short, what there is, what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from baldistill.placement.packing import (
    ACCELERATOR,
    Amounts,
    Demand,
    describe,
    describe_amounts,
    eligible,
    fits,
    fitting,
)

_TRAINING = "student.num_workers"


def explain(nodes: Sequence[Amounts], step: Sequence[Demand]) -> str:
    """The message for demands that do not fit the nodes side by side."""
    for demand in step:
        if not fits(nodes, [demand]):
            reason = _alone(nodes, demand)
            break
    else:
        reason = _together(nodes, step)
    return (
        f"{reason}. The cluster has {describe(nodes)}; what one with an autoscaler can have "
        "stands under cluster.nodes"
    )


def _alone(nodes: Sequence[Amounts], demand: Demand) -> str:
    """Why a demand does not even fit by itself."""
    section = _section(demand)
    for name in demand.bundle:
        if eligible(nodes, {name: demand.bundle[name]}):
            continue
        if name.startswith(ACCELERATOR):
            wanted = name.removeprefix(ACCELERATOR)
            return (
                f"{section}.accelerator_type={wanted}, and no node has one"
                f"{_known(nodes, accelerators=True)}"
            )
        if name not in ("CPU", "GPU"):
            return (
                f"{section}.custom_resources asks for {name!r}, which no node has"
                f"{_known(nodes, accelerators=False)}"
            )
    group = describe_amounts(demand.group)
    if not fits(nodes, [replace(demand, count=1)]):
        lacking = "on one node, and no node has" if demand.one_node else "and the nodes do not have"
        return f"{_name(demand)} needs {group} {lacking} that: lower {_each(demand)}"
    placed = fitting(nodes, [demand])[demand.key]
    return (
        f"{_many(demand)} need {demand.count} x ({group}), and the nodes hold {placed}: "
        f"lower {_number(demand)}"
    )


def _together(nodes: Sequence[Amounts], step: Sequence[Demand]) -> str:
    """What is needed in all, where each part fits by itself."""
    needs = " + ".join(
        f"{demand.key} {demand.count} x ({describe_amounts(demand.group)})" for demand in step
    )
    total: dict[str, float] = {}
    for demand in step:
        for name, amount in demand.group.items():
            total[name] = total.get(name, 0.0) + amount * demand.count
    keys = list(dict.fromkeys(_number(d) for d in step if d.key != "Ray Data"))
    keep = ", or leave cluster.keep_warm at `auto`" if len(keys) > 1 else ""
    return (
        f"the run needs {describe_amounts({n: a for n, a in total.items() if ':' not in n})} at "
        f"the same time ({needs}), and the nodes do not hold that: lower {' or '.join(keys)} or "
        f"the resources of each{keep}"
    )


def _section(demand: Demand) -> str:
    return "student.worker_resources" if demand.key == _TRAINING else demand.key


def _name(demand: Demand) -> str:
    if demand.key == "Ray Data":
        return "Ray Data"
    return "a training worker" if demand.key == _TRAINING else f"an engine of {demand.key}"


def _many(demand: Demand) -> str:
    return "the training workers" if demand.key == _TRAINING else f"the engines of {demand.key}"


def _each(demand: Demand) -> str:
    if demand.key == "Ray Data":
        return "nothing: give the cluster a CPU"
    if demand.size > 1:
        return f"{demand.key.removesuffix('.resources')}.tensor_parallel_size"
    return f"{_section(demand)}.num_cpus, num_gpus or custom_resources"


def _number(demand: Demand) -> str:
    return demand.key if demand.key == _TRAINING else f"{demand.key}.replicas"


def _known(nodes: Sequence[Amounts], *, accelerators: bool) -> str:
    names = sorted(
        {
            name.removeprefix(ACCELERATOR)
            for node in nodes
            for name in node
            if name not in ("CPU", "GPU") and name.startswith(ACCELERATOR) == accelerators
        }
    )
    return f" (they have: {', '.join(names)})" if names else ""
