"""Check that every node of the cluster sees the run folder, before anything is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from baldistill.errors import UserError
from baldistill.ray_patches import is_remote_driver
from baldistill.storage import Storage

_PROBE = "_storage_check"


def check_storage_is_shared(
    storage: Storage,
    nodes: Sequence[dict[str, Any]] | None = None,
    option: str = "--run-dir",
) -> None:
    """Let each node (by default all of `ray.nodes()`) look for a file that the driver writes.

    The error names the option that chose the folder.

    A single node is the driver's own and is not asked.

    Raises:
        UserError: A node does not see the file, or lacks a package or credential to look for it.
    """
    if nodes is None:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) == 1 and not is_remote_driver():
            return
    storage.write_text(_PROBE, "")
    try:
        _check_on(nodes, storage, option)
    finally:
        storage.delete(_PROBE)


def _check_on(nodes: Sequence[dict[str, Any]], storage: Storage, option: str) -> None:
    addresses = {}
    for node in nodes:
        on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(_find_problem).options(num_cpus=0, scheduling_strategy=on_node)
        addresses[task.remote(storage)] = node["NodeManagerAddress"]
    for result, address in addresses.items():
        try:
            problem = ray.get(result)
        except RayTaskError as error:  # the node lacks a package or a credential
            problem = str(error).strip().splitlines()[-1]
        except RayError:  # the node is gone: later work runs on other nodes
            continue
        if problem is not None:
            raise UserError(
                f"node {address} cannot reach the folder {storage.uri} ({problem}): use a "
                f"{option} that every node sees (s3://, gs://, a shared mount), and give "
                "each node the same packages and the credentials"
            )


def _find_problem(storage: Storage) -> str | None:
    try:
        return None if storage.exists(_PROBE) else "it does not see the driver's files"
    except OSError as error:
        return str(error)
