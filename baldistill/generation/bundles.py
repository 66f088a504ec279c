"""Ray options for the resources of an engine: a bundle, or a placement group of bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


def options_for_bundle(bundle: Mapping[str, float]) -> dict[str, Any]:
    """Return Ray's options for an actor that takes one bundle."""
    amounts = dict(bundle)
    cpus, gpus = amounts.pop("CPU", 0.0), amounts.pop("GPU", 0.0)
    # DEFAULT: on any node. A Ray Tune trial would else keep the actor in its placement group.
    options = {"num_cpus": cpus, "num_gpus": gpus, "resources": amounts}
    return {**options, "scheduling_strategy": "DEFAULT"}


def reserve_bundles(bundle: Mapping[str, float], count: int, *, one_node: bool) -> PlacementGroup:
    """Reserve bundles for an engine on several GPUs: on one node, or on as few as possible."""
    return placement_group([dict(bundle)] * count, "STRICT_PACK" if one_node else "PACK")


def options_for_group(group: PlacementGroup) -> dict[str, Any]:
    """Return Ray's options for an actor whose child actors take the bundles of a group.

    vLLM finds the group and puts a worker on each bundle.
    """
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    return {"num_cpus": 0, "scheduling_strategy": strategy}
