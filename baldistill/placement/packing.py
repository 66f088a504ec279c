"""Pack what a run reserves onto nodes, node by node and GPU by GPU: pure.

Totals are not enough: two half-free GPUs do not hold an engine that wants one, and two nodes of
four GPUs do not hold an engine of eight that stays on one node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

Amounts: TypeAlias = Mapping[str, float]
"""Amounts of `CPU`, `GPU`, `accelerator_type:NAME` and custom resources, as Ray names them."""

ACCELERATOR_PREFIX = "accelerator_type:"
_ACCELERATOR_SHARE = 0.001  # what Ray reserves of `accelerator_type:NAME` to choose a node
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Demand:
    """Equal groups of processes that live at the same time.

    Attributes:
        key: Where the config asks for them.
        bundle: What one process reserves, all of it on one node.
        size: Bundles of a group: one for each GPU of an engine on several.
        one_node: Whether a group must stay on one node.
    """

    key: str
    bundle: Amounts
    count: int = 1
    size: int = 1
    one_node: bool = True

    @property
    def group(self) -> dict[str, float]:
        """Return the resources that one group reserves."""
        return {name: amount * self.size for name, amount in self.bundle.items()}


def bundle_of(
    num_cpus: float,
    num_gpus: float,
    accelerator_type: str | None = None,
    custom_resources: Amounts | None = None,
) -> dict[str, float]:
    """Return what a process reserves, in Ray's names, without amounts of 0."""
    amounts = {"CPU": num_cpus, "GPU": num_gpus, **(custom_resources or {})}
    if accelerator_type is not None:
        amounts[ACCELERATOR_PREFIX + accelerator_type] = _ACCELERATOR_SHARE
    return {name: amount for name, amount in amounts.items() if amount > 0}


def pack(nodes: Sequence[Amounts], demands: Sequence[Demand]) -> dict[str, int]:
    """Return how many groups of each demand the nodes hold side by side, by key.

    The pickiest demand is placed first, each group on the fullest node that holds it. This is a
    heuristic: it may miss a packing that exists, as Ray's scheduler may.
    """
    free = [_FreeNode(node) for node in nodes]
    placed: dict[str, int] = {}
    for demand in sorted(demands, key=_pickiness, reverse=True):
        count = 0
        while count < demand.count and _reserve_group(free, demand):
            count += 1
        placed[demand.key] = count
    return placed


def fits(nodes: Sequence[Amounts], demands: Sequence[Demand]) -> bool:
    """Return whether the nodes hold all demands side by side."""
    placed = pack(nodes, demands)
    return all(placed[demand.key] == demand.count for demand in demands)


def capacity(nodes: Sequence[Amounts], demand: Demand) -> int:
    """Return how many groups of a demand the nodes hold with nothing beside them."""
    totals = (
        sum(node.get(name, 0.0) for node in nodes) / amount for name, amount in demand.group.items()
    )
    most = int(min(totals, default=0.0) + _EPSILON)
    return pack(nodes, [replace(demand, count=most)])[demand.key]


def nodes_with(nodes: Sequence[Amounts], bundle: Amounts) -> list[Amounts]:
    """Return the nodes that have some of every resource of a bundle."""
    return [node for node in nodes if all(node.get(name, 0.0) > 0 for name in bundle)]


def describe_nodes(nodes: Sequence[Amounts]) -> str:
    """Describe nodes, such as `2 x (96 CPU, 8 GPU, 8 teacher, A100) + 1 x (8 CPU)`."""
    kinds = Counter(describe_amounts(node) for node in nodes)
    return " + ".join(f"{count} x ({kind})" for kind, count in kinds.items())


def describe_amounts(amounts: Amounts) -> str:
    """Describe amounts, such as `96 CPU, 8 GPU, 8 teacher, A100`."""
    return ", ".join(
        name.removeprefix(ACCELERATOR_PREFIX)
        if name.startswith(ACCELERATOR_PREFIX)
        else f"{amount:g} {name}"
        for name, amount in amounts.items()
        if amount > 0
    )


class _FreeNode:
    """The free part of a node: each GPU by itself, the rest as amounts."""

    def __init__(self, node: Amounts) -> None:
        self.gpus = [1.0] * int(node.get("GPU", 0.0))
        self.rest = {name: amount for name, amount in node.items() if name != "GPU"}

    @property
    def left(self) -> tuple[float, float]:
        """Return GPUs, then CPUs: a process without a GPU first goes to nodes without one."""
        return sum(self.gpus), self.rest.get("CPU", 0.0)

    def reserve(self, bundle: Amounts) -> bool:
        """Reserve a bundle, or nothing where it does not fit; return whether it fits."""
        rest = {name: amount for name, amount in bundle.items() if name != "GPU"}
        if any(self.rest.get(name, 0.0) + _EPSILON < amount for name, amount in rest.items()):
            return False
        share = bundle.get("GPU", 0.0)
        each, number = (1.0, round(share)) if share >= 1 else (share, 1 if share > 0 else 0)
        fullest = sorted(range(len(self.gpus)), key=lambda i: self.gpus[i])
        chosen = [i for i in fullest if self.gpus[i] + _EPSILON >= each][:number]
        if len(chosen) < number:
            return False
        for i in chosen:
            self.gpus[i] -= each
        for name, amount in rest.items():
            self.rest[name] -= amount
        return True

    def copy(self) -> _FreeNode:
        other = _FreeNode({})
        other.gpus, other.rest = list(self.gpus), dict(self.rest)
        return other


def _pickiness(demand: Demand) -> tuple[int, float, float]:
    """Rank demands: custom resources and accelerator types first, then GPUs, then CPUs."""
    num_special = sum(name not in ("CPU", "GPU") for name in demand.bundle)
    return num_special, demand.group.get("GPU", 0.0), demand.group.get("CPU", 0.0)


def _reserve_group(free: list[_FreeNode], demand: Demand) -> bool:
    """Reserve one group: on one node if any holds it whole, else spread where it may."""
    for number in sorted(range(len(free)), key=lambda i: free[i].left):
        node = free[number].copy()
        if all(node.reserve(demand.bundle) for _ in range(demand.size)):
            free[number] = node
            return True
    if demand.one_node:
        return False
    spread = [node.copy() for node in free]
    for _ in range(demand.size):
        emptiest = sorted(spread, key=lambda node: node.left, reverse=True)
        if not any(node.reserve(demand.bundle) for node in emptiest):
            return False
    free[:] = spread
    return True
