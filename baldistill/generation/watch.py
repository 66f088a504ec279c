"""Ask a pool's engines now and then what they are doing, without waiting for an answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError

ASK_EVERY = 1.0  # seconds
NOTICE_EVERY = 5.0  # seconds between two questions for notices, which the user reads
_log = logging.getLogger("baldistill")


@dataclass(frozen=True, slots=True)
class Report:
    """An engine's report of what it is doing.

    Attributes:
        status: What the engine does before it can answer, such as `loading the model`; empty while
            it can answer.
        ended: Rows that have ended in each call under way, by the id of the call's Ray task.
        notice: What the user should know, such as that a server is away; empty if there is nothing.
    """

    status: str = "starting the engine"
    ended: Mapping[str, int] = field(default_factory=dict)
    notice: str = ""


class Watch:
    """The last report of each engine; logs their notices."""

    def __init__(self, actors: Sequence[Any]) -> None:
        """Ask for the first time after `ASK_EVERY`: short work asks nothing."""
        self.reports = [Report() for _ in actors]
        self._actors = actors
        self._asked: dict[Any, int] = {}
        now = time.monotonic()
        self._next, self._next_notice = now + ASK_EVERY, now + NOTICE_EVERY

    def look(self) -> bool:
        """Read the reports that have come and ask for new ones, if it is time; return if it was."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + ASK_EVERY
        asked = list(self._asked)
        come = ray.wait(asked, num_returns=len(asked), timeout=0)[0] if asked else []
        for reference in come:
            engine = self._asked.pop(reference)
            try:
                report = ray.get(reference)
            except RayActorError:  # Ray restarts the engine
                report = Report()
            self.reports[engine] = report
            if report.notice:
                _log.warning(report.notice)
        with_notice = now >= self._next_notice
        if with_notice:
            self._next_notice = now + NOTICE_EVERY
        for engine in set(range(len(self._actors))) - set(self._asked.values()):
            self._asked[self._actors[engine].report.remote(with_notice)] = engine
        return True
