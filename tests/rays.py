"""Starting Ray on a machine that may be busy: Ray itself gives up after 30 seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import ray

from baldistill.ray_patches import end_slow_start, without_attendants

T = TypeVar("T")

_TRIES = 6


def started(start: Callable[[], T]) -> T:
    """Return what starts Ray, after as many tries as a busy machine needs.

    Only what a local run starts is started: dashboards, log monitors and autoscalers are not.
    """
    for _ in range(_TRIES - 1):
        try:
            with without_attendants(logs=False):
                return start()
        except Exception as error:
            if not end_slow_start(error):
                raise
            ray.shutdown()
    with without_attendants(logs=False):
        return start()
