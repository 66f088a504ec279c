"""All that the package relies on in Ray beyond Ray's documented interface. Checked with Ray 2.60.0.

Look at each entry when the version of Ray changes: its comment says how one notices that the entry
is no longer needed, or that it no longer works.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DRIVER_SETTINGS = {
    # Ray prints "Unhandled error" for results that nobody waits for. Not needed once a run that
    # fails prints its own message alone without this setting.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    # Ray Data starts an actor that reports to Ray's makers which operators are used. The actor
    # costs a process, and a second or two of a CPU, at each start. Not needed once no
    # `_UsageCollectionActor` appears.
    "RAY_DATA_USAGE_DISABLED": "1",
}
"""Environment of the driver, set before it starts or joins a Ray."""

LOCAL_RAY_SETTINGS = {
    # How long Ray keeps a process without work. By default Ray ends an idle process after a second
    # if there are more processes (actors included) than CPUs. On a laptop the engines and the
    # ledger are as many, so each pass over the corpus would start its processes anew. A pass took
    # 9 to 25 s on two busy CPUs, and takes 1 to 3 s with this setting. Not needed once passes are
    # as fast without.
    "RAY_idle_worker_killing_time_threshold_ms": "300000",
    # Training workers and vLLM's processes listen here. Documented by torch, NCCL and vLLM.
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "VLLM_HOST_IP": "127.0.0.1",
    # A process that watches for nodes which a cloud takes back. Documented by Ray Train.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""Environment of the driver, set before it starts a Ray on this machine."""

_RETRIED = re.compile(r"the task will be retried|A worker died or was killed while executing")
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_TOKEN = "RAY_AUTH_TOKEN"
AUTH_MODE = "RAY_AUTH_MODE"
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable that holds the environment of a submitted job, as JSON. Ray reads it in `ray.init`."""

TUNE_SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # documented: Ctrl-C ends the sweep, which can be resumed
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # documented: only the trackers of the space
    # Tune's newer output cannot be silenced. Not needed once `verbose=0` prints nothing.
    "RAY_AIR_NEW_OUTPUT": "0",
    # How long Tune waits until a stopped trial has closed its run; then the next trial starts.
    # Not needed once Tune waits without a limit.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
}
"""Environment of the driver of a sweep, set before it starts or joins a Ray."""

CHILDREN_SEE_GPUS = {
    # An actor that reserves no GPU itself, but whose children do, must see the GPUs. This is what
    # Ray 2.60 does anyway; the setting overrides a node whose environment asks for the old way.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment of an actor whose children reserve GPUs."""


def lost_worker_errors() -> tuple[type[Exception], ...]:
    """Return what Ray Train reports of a worker that is gone.

    Not needed once Ray Train exports such errors, or starts a lost worker again without starting
    one whose training failed. An ImportError here says that they have moved.
    """
    from ray.train.v2._internal.exceptions import (
        WorkerHealthCheckFailedError,
        WorkerHealthCheckTimeoutError,
    )

    return WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError


def end_slow_start(error: Exception) -> bool:
    """Return whether `ray.init` failed because the machine was too busy, and end what it started.

    Ray leaves the processes, and those of several tries would keep the machine busy. Not needed
    once no `gcs_server` is left (test_ray_patches.py).
    """
    from ray._private.node import Node

    if "timed out during startup" not in str(error):
        return False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(node := frame.f_locals.get("self"), Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
            break
    return True


def is_remote_driver() -> bool:
    """Return whether this driver is a client (`ray://`), which runs on no node of the cluster.

    Not needed once `ray.util.client` documents how to ask.
    """
    import ray.util.client

    return bool(ray.util.client.ray.is_connected())


def hide_retries() -> None:
    """Keep Ray from printing each attempt that it makes again; its other messages still appear.

    What fails in the end is raised. Ray documents `RAY_DEDUP_LOGS_SKIP_REGEX` for this, and reads
    it when it is imported. Not needed once `ray.init(log_to_driver=False)` prints no such lines.
    """
    from ray._private import ray_logging

    if ray_logging.stdout_deduplicator.skip_re is None:  # else the user has set the variable
        ray_logging.stdout_deduplicator.skip_re = _RETRIED


@contextmanager
def on_loopback() -> Iterator[dict[str, str]]:
    """Let a Ray that starts in the block listen on the loopback alone; yield `ray.init` arguments.

    On Linux, Ray replaces a loopback address by one that other machines reach; on macOS and
    Windows it does not. This asks for the latter: by a variable in the processes of Ray, and by
    the constant that this process has read from the variable before. Not needed once
    `ray.init(_node_ip_address="127.0.0.1")` alone keeps the address (test_cluster.py).
    """
    from ray._private import ray_constants

    usual = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _environment({_LOOPBACK: "0"}):
            yield {"_node_ip_address": "127.0.0.1"}
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = usual


@contextmanager
def without_attendants(logs: bool) -> Iterator[None]:
    """Keep a Ray that starts in the block from starting processes that serve nobody here.

    They are the autoscaler of a machine that is the only one, the web server of a dashboard that is
    off, which `ray.init` waits for, and, unless `logs`, what sends the workers' output to a driver
    that does not show it. Together they are a third of the time that a start takes, and 300 MiB.
    Not needed once `ray.init(include_dashboard=False, log_to_driver=False)` starts none of them
    (test_cluster.py).
    """
    from ray._private.node import Node

    names = ["start_monitor", "start_api_server", *([] if logs else ["start_log_monitor"])]
    usual = {name: getattr(Node, name) for name in names}
    try:
        for name in names:
            setattr(Node, name, lambda self, **_: None)
        yield
    finally:
        for name, method in usual.items():
            setattr(Node, name, method)


@contextmanager
def without_data_attendants() -> Iterator[None]:
    """Keep Ray Data in the block from starting processes that serve nobody on one machine.

    One gathers figures for a dashboard, which is off; one asks an autoscaler for machines. Each
    imports Ray Data, 2 s of a CPU and 180 MiB, and the first pass over the corpus waits for both.
    Not needed once Ray Data starts no `_StatsActor` and no `_AutoscalingCoordinatorActor` where
    there is no dashboard and no autoscaler (test_cluster.py).
    """
    import ray
    from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
    from ray.data._internal.execution import streaming_executor
    from ray.data._internal.execution.interfaces import ExecutionResources
    from ray.data._internal.stats import _StatsManager

    class OneMachine(ClusterAutoscaler):  # type: ignore[misc]
        def __init__(self) -> None:
            self._total = ExecutionResources.from_resource_dict(ray.cluster_resources())

        def try_trigger_scaling(self) -> None:
            pass

        def on_executor_shutdown(self) -> None:
            pass

        def get_total_resources(self) -> Any:
            return self._total

    replaced: list[tuple[Any, str, Any]] = [
        # as where it has no actor
        (_StatsManager, "gen_dataset_id_from_stats_actor", staticmethod(lambda: uuid.uuid4().hex)),
        (_StatsManager, "register_dataset_to_stats_actor", staticmethod(lambda *_, **__: None)),
        (_StatsManager, "update_execution_metrics", staticmethod(lambda *_, **__: None)),
        (_StatsManager, "update_iteration_metrics", staticmethod(lambda *_, **__: None)),
        (streaming_executor, "create_cluster_autoscaler", lambda *_, **__: OneMachine()),
    ]
    usual = [(owner, name, vars(owner)[name]) for owner, name, _ in replaced]
    try:
        for owner, name, function in replaced:
            setattr(owner, name, function)
        yield
    finally:
        for owner, name, function in usual:
            setattr(owner, name, function)


def without_train_attendants(trainer: Any) -> None:
    """Keep a trainer of Ray Train from starting processes that serve nobody here.

    One hands out data sets, and the trainer has none. On a Ray without a dashboard two more are
    left out: one that asks an autoscaler for machines, and one that frees resources once the
    controller has died, which it asks the dashboard: in vain, and the end of each training would
    wait 12 s for it to stop. Each takes 2 to 3 s of a CPU, and most are waited for. Not needed once
    `fit` starts none of them (test_train.py).
    """
    from ray._private import ray_constants
    from ray.experimental.internal_kv import _internal_kv_get
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import (
        PlacementGroupCleanerCallback,
    )
    from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy

    class OneMachine(FixedScalingPolicy):  # type: ignore[misc]
        def after_controller_start(self, train_run_context: Any) -> None:
            pass

        def _maybe_send_resource_request(self) -> None:
            pass

    name, namespace = ray_constants.DASHBOARD_ADDRESS, ray_constants.KV_NAMESPACE_DASHBOARD
    is_alone = not _internal_kv_get(name, namespace=namespace)
    left_out = (DatasetsCallback, *((PlacementGroupCleanerCallback,) if is_alone else ()))
    usual = trainer._initialize_and_run_controller

    def run(**parts: Any) -> Any:
        parts["callbacks"] = [one for one in parts["callbacks"] if not isinstance(one, left_out)]
        if is_alone:
            parts["scaling_policy"] = OneMachine(trainer.scaling_config)
        return usual(**parts)

    trainer._initialize_and_run_controller = run


@contextmanager
def own_token() -> Iterator[None]:
    """Guard a Ray that starts in the block by a token of its own, which stands in no file.

    Ray itself would keep one in `~/.ray/auth_token`, readable by all users. Not needed once Ray
    writes this file for its owner alone.
    """
    import ray._raylet

    def read_again() -> None:
        raylet: Any = ray._raylet  # its stubs lack both
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()

    try:
        with _environment({AUTH_MODE: "token", _TOKEN: secrets.token_hex(32)}):
            read_again()
            yield
    finally:
        read_again()


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set variables of this process and its children, and restore them."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def keep_sigterm_handler() -> Iterator[None]:
    """Keep the program's handler of SIGTERM, which `ray.init` replaces before it starts anything.

    With Ray's handler the program would end without a word, with status 15, if SIGTERM came in the
    seconds in which Ray starts. A program without a handler of its own gets Ray's. Not needed once
    a run that gets SIGTERM says how to resume without this (test_job.py, test_ray_patches.py).
    """
    from ray._private import utils

    if not callable(signal.getsignal(signal.SIGTERM)):
        yield
        return
    set_handler = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = set_handler


def raylet_has_died() -> bool:
    """Return whether a raylet that this process has started ended by itself, or was killed.

    Its sockets close before its last thread has ended, and only then does the system tell: so this
    waits a second before it says no.

    Not needed once all errors that follow from this have a type of their own (test_cluster.py).
    """
    import ray._private.worker

    node: Any = ray._private.worker._global_node
    deadline = time.monotonic() + 1.0
    while node is not None:
        if any(kind == "raylet" for kind, _ in node.dead_processes()):
            return True
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return False
