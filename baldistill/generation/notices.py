"""What engines have to say while they work, such as a server that is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

NOTICE_EVERY = 5.0  # seconds between two looks at what engines have to say
_log = logging.getLogger("baldistill")


class Notices:
    """Asks the engines of a pool now and then, and logs what they say."""

    def __init__(self, actors: Sequence[Any]) -> None:
        """The first question is asked after some seconds."""
        self._actors = actors
        self._asked: list[Any] = []
        self._next = time.monotonic() + NOTICE_EVERY

    def tell(self) -> None:
        """Log what they answered to the last question, and ask the next; waits for nobody."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + NOTICE_EVERY
        asked, self._asked = self._asked, []
        ready, pending = ray.wait(asked, num_returns=len(asked), timeout=0) if asked else ([], [])
        for reference in ready:
            try:
                notice = ray.get(reference)
            except RayActorError:  # it is restarted, and its batches are given to others
                continue
            if notice:
                _log.warning(notice)
        self._asked = pending or [actor.notice.remote() for actor in self._actors]
