"""Which requests are being asked just now, by runs side by side that share a store of answers.

The store spares a run what another was answered; this spares it what another is waiting for. One
actor serves all runs of a comparison or a sweep. It decides nothing about budgets and keeps nothing
durable: whatever happens to it, a run can at worst make a call that another makes, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError

_LOOK_EVERY = 5.0  # seconds between two looks whether the one who asks is alive
_LOOK_S = 1.0  # a ledger that does not answer within this is busy, not dead


class InFlight:
    """Who asks what. Whoever asks for what nobody else is asking may; the others wait."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._holders: dict[str, str] = {}
        self._ledgers: dict[str, Any] = {}
        self._looked: dict[str, float] = {}

    def claim(self, names: Sequence[str], holder: str, ledger: Any) -> list[str]:
        """Take requests that nobody is asking.

        Args:
            names: Request ids.
            holder: Who wants to ask.
            ledger: Handle of its ledger, which dies with its run.

        Returns:
            Those that another holder is asking: they are not taken.
        """
        for other in {self._holders[name] for name in names if name in self._holders} - {holder}:
            if self._is_gone(other):
                self.leave(other)
        held = [name for name in names if self._holders.get(name, holder) != holder]
        self._holders.update(dict.fromkeys(set(names).difference(held), holder))
        self._ledgers[holder] = ledger
        return held

    def free(self, names: Iterable[str], holder: str) -> None:
        """Give back what was answered, or is not asked after all."""
        for name in names:
            if self._holders.get(name) == holder:
                del self._holders[name]

    def leave(self, holder: str) -> None:
        """Give back everything: the holder asks no more."""
        self._holders = {name: who for name, who in self._holders.items() if who != holder}
        self._ledgers.pop(holder, None)
        self._looked.pop(holder, None)

    def _is_gone(self, holder: str) -> bool:
        now = time.monotonic()
        if now < self._looked.get(holder, 0.0) + _LOOK_EVERY:
            return False
        self._looked[holder] = now
        told, _ = ray.wait([self._ledgers[holder].__ray_ready__.remote()], timeout=_LOOK_S)
        try:
            ray.get(told)
        except ActorDiedError:  # one that is merely out of reach may come back
            return True
        return False


def start_in_flight() -> Any:
    """Start the actor; it ends with the last handle."""
    remote = ray.remote(InFlight).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return remote.remote()
