"""Attach to a Ray cluster, or to a quiet Ray of this machine."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import ray
import ray.data

from baldistill.errors import ResourceError
from baldistill.placement.local_ray import local_ray, set_environment
from baldistill.placement.resources import Cluster
from baldistill.ray_patches import (
    DRIVER_SETTINGS,
    JOB_CONFIG,
    hide_retries,
    keep_sigterm_handler,
)

_CONNECT_SECONDS = 10.0


@contextmanager
def connected(address: str | None = None, *, verbose: bool = False) -> Iterator[Cluster]:
    """Use the Ray that is already in use, the cluster at `address` or RAY_ADDRESS, or a local Ray.

    A Ray that this function starts or joins is left at the end; one that the caller started stays.
    An address is `auto`, `host:port` or `ray://host:port`.

    Raises:
        ResourceError: No cluster answers at the address, or the local Ray does not start.
    """
    with ExitStack() as stack:
        if not ray.is_initialized():
            set_environment(DRIVER_SETTINGS)
            if not sys.stderr.isatty():
                set_environment({"RAY_COLOR_PREFIX": "0"})  # a job's log has no control codes
            level = logging.INFO if verbose else logging.ERROR
            if address := address or os.environ.get("RAY_ADDRESS"):
                stack.callback(ray.shutdown)
                with keep_sigterm_handler():
                    _join(address, level, verbose)
            else:
                stack.enter_context(local_ray(level, verbose))
        if not verbose:
            _silence_libraries()
        yield Cluster(tuple(_nodes()))


def _nodes() -> Iterator[dict[str, float]]:
    """Yield the resources of each living node that actors can reserve."""
    for node in ray.nodes():
        if node["Alive"]:
            yield {
                name: amount
                for name, amount in sorted(node["Resources"].items())
                if not name.startswith("node:") and not name.endswith("memory")
            }


def _join(address: str, level: int, verbose: bool) -> None:
    try:
        _check_listening(address)
        variables = _variables_of_workers()
        environment = {"runtime_env": {"env_vars": variables}} if variables else {}
        ray.init(address=address, logging_level=level, log_to_driver=verbose, **environment)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ResourceError(
            f"no Ray cluster answers at {address!r} ({error.__cause__ or error}): check "
            "--address and RAY_ADDRESS, or unset both to run on this machine"
        ) from None


def _variables_of_workers() -> dict[str, str]:
    """Return the driver's variables that workers on other machines need: which hub to read.

    A submitted job's own environment has reached them already, and Ray refuses to have it twice.
    """
    job = json.loads(os.environ.get(JOB_CONFIG, "{}"))
    known = (job.get("runtime_env") or {}).get("env_vars") or {}
    names = [name for name in ("HF_ENDPOINT",) if name not in known]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def _check_listening(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for minutes.

    Raises:
        ConnectionError: Nobody listens.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return  # `auto`, or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(str(error)) from None


def _silence_libraries() -> None:
    """Keep the messages of Ray Data, Train and Tune in their own log files, retries unsaid."""
    hide_retries()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
