"""Attach to a Ray cluster, or start a quiet local Ray."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data

from baldistill.errors import ResourceError
from baldistill.placement.resources import Cluster

_KNOCK_SECONDS = 10.0
_KEEP_IDLE_MS = 300_000
"""How long a local Ray keeps a process without work.

By itself Ray ends one after a second as soon as there are more processes, actors included, than
CPUs. On a laptop the engines and the ledger alone are as many, so every pass over the corpus
would start its processes anew, at seconds each: 9 to 25 s a pass on two busy CPUs, 1 to 3 s with
this.
"""


@contextmanager
def connected(address: str | None = None, *, verbose: bool = False) -> Iterator[Cluster]:
    """Use the cluster at `address` or RAY_ADDRESS, the one that is already in use, or a local Ray.

    A local Ray is shut down at the end; a cluster, and a Ray that the caller started, stay.

    Args:
        address: `auto`, `host:port` or `ray://host:port`.
        verbose: Let Ray's own messages through.
    """
    started = not ray.is_initialized()
    if started:
        _start(address or os.environ.get("RAY_ADDRESS"), verbose=verbose)
    if not verbose:
        _quiet()
    try:
        yield Cluster(tuple(_nodes()))
    finally:
        if started:
            ray.shutdown()


def _nodes() -> Iterator[dict[str, float]]:
    """What each living node has for actors to reserve."""
    for node in ray.nodes():
        if node["Alive"]:
            yield {
                name: amount
                for name, amount in sorted(node["Resources"].items())
                if not name.startswith("node:") and not name.endswith("memory")
            }


def _start(address: str | None, *, verbose: bool) -> None:
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # a job's log has no control codes
    level = logging.INFO if verbose else logging.ERROR
    if address is not None:
        try:
            _knock(address)
            with _terminated_as_before():
                ray.init(address=address, logging_level=level, log_to_driver=verbose)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ResourceError(
                f"no Ray cluster answers at {address!r} ({error.__cause__ or error}): check "
                "--address and RAY_ADDRESS, or unset both to run on this machine"
            ) from None
        return
    with _terminated_as_before():
        _start_here(level, verbose)


@contextmanager
def _terminated_as_before() -> Iterator[None]:
    """Keep the program's own handler of SIGTERM, which `ray.init` replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _start_here(level: int, verbose: bool) -> None:
    """Start a Ray on this machine; once more, where it was too busy to be ready in time."""
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(_KEEP_IDLE_MS))
    for last in (False, True):
        try:
            ray.init(include_dashboard=False, logging_level=level, log_to_driver=verbose)
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if last:
                raise ResourceError(
                    f"Ray did not start on this machine, which may be too busy: {error}"
                ) from None


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes.

    Raises:
        ConnectionError: Nobody answers.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return  # `auto`, or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
    except OSError as error:
        raise ConnectionError(str(error)) from None


def _quiet() -> None:
    """Keep Ray Data's and Ray Train's messages in their own log files."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.train", "ray.tune"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
