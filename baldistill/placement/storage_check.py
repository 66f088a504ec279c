"""Does every node of the cluster see the run folder? Asked before anything is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from baldistill.errors import UserError
from baldistill.storage import Storage

_PROBE = "_reach"


def check_reach(storage: Storage, nodes: Sequence[dict[str, Any]] | None = None) -> None:
    """Let each node look for a file that the driver writes; a single node is the driver's.

    Args:
        storage: The run's folder.
        nodes: As `ray.nodes()` describes them; by default all, where there are several.

    Raises:
        UserError: A node does not see it, or lacks what it takes to look.
    """
    if nodes is None:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) == 1 and not ray.util.client.ray.is_connected():
            return
    storage.write_text(_PROBE, "")
    try:
        _ask(storage, nodes)
    finally:
        storage.delete(_PROBE)


def _ask(storage: Storage, nodes: Sequence[dict[str, Any]]) -> None:
    looks = {}
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        look = ray.remote(_look).options(num_cpus=0, scheduling_strategy=here)
        looks[look.remote(storage)] = node["NodeManagerAddress"]
    for reference, address in looks.items():
        try:
            problem = ray.get(reference)
        except RayTaskError as error:  # a package or a credential that is missing there
            problem = str(error).strip().splitlines()[-1]
        except RayError:  # the node is gone: what runs later runs elsewhere
            continue
        if problem is not None:
            raise UserError(
                f"node {address} cannot reach the run folder {storage.uri} ({problem}): use a "
                "--run-dir that every node sees (s3://, gs://, a shared mount), and give "
                "each node the same packages and the credentials"
            )


def _look(storage: Storage) -> str | None:
    try:
        return None if storage.exists(_PROBE) else "it does not see the driver's files"
    except OSError as error:
        return str(error)
