"""What an engine's actor reserves of the cluster: a bundle, or a placement group of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


def alone(bundle: Mapping[str, float]) -> dict[str, Any]:
    """Ray's options for an actor that takes a bundle."""
    amounts = dict(bundle)
    cpus, gpus = amounts.pop("CPU", 0.0), amounts.pop("GPU", 0.0)
    # DEFAULT: anywhere, also where a Ray Tune trial would keep it in its own placement group
    options = {"num_cpus": cpus, "num_gpus": gpus, "resources": amounts}
    return {**options, "scheduling_strategy": "DEFAULT"}


def bundles_of(bundle: Mapping[str, float], count: int, *, one_node: bool) -> PlacementGroup:
    """Bundles for an engine on several GPUs: all on one node, or on as few as possible."""
    return placement_group([dict(bundle)] * count, "STRICT_PACK" if one_node else "PACK")


def inside(group: PlacementGroup) -> dict[str, Any]:
    """Ray's options for an actor whose child actors take the bundles of a group.

    vLLM finds the group and puts a worker on each bundle.
    """
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    return {"num_cpus": 0, "scheduling_strategy": strategy}
