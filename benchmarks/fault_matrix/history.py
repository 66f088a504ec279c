"""Check a run's promises about its teacher against what a server and the run folder saw.

A history is what happened to one run: every request that the server received, each crash, and what
ledger, response store and tables hold at the end. `violations` names each promise that a history
breaks. Nothing here starts a process or reads a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["served", "failed", "refused", "rejected", "unknown"]
"""The server's reaction to a request.

served: It answered. failed: It may have worked on the request, and gave no usable answer (500, a
connection that broke, a client that died). refused: It did no work and wants to be asked later
(429, 503). rejected: It did no work and never will (400, 401). unknown: Its reply made no sense.
"""


@dataclass(slots=True)
class Call:
    """A request as the server saw it.

    Attributes:
        key: Names the question; a repeated request has the same key.
        life: How often the run had been started again when the request came.
        outcome: `failed` until the server has answered.
        tokens: Read and written, as the server counted them.
    """

    key: str
    life: int
    outcome: Outcome = "failed"
    tokens: int = 0

    @property
    def counts(self) -> bool:
        """Return whether the server may charge for the request."""
        return self.outcome in ("served", "failed")


@dataclass(frozen=True, slots=True)
class Crash:
    """The end of a life that was not the run's own end.

    Attributes:
        life: The life that it ended.
        stored: Keys of the answers in the response store before the next start.
        most_in_flight: The most calls that could be under way.
    """

    life: int
    stored: frozenset[str]
    most_in_flight: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps of a run; None is no cap."""

    examples: int | None = None
    calls: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger's sums at the end; `tokens` includes what open calls hold."""

    examples: int
    calls: int
    tokens: int


@dataclass(frozen=True, slots=True)
class History:
    """The events of one run, and what it left.

    Attributes:
        calls: In the order in which the server received them.
        crashes: In their order.
        ledger: At the end; None if the run folder has none.
        limits: The caps that it ran under.
        complete: Whether the last start ended well.
        tables: What the run decided, by file.
        expected: The same of an undisturbed run; None where nothing can be compared.
    """

    calls: Sequence[Call]
    crashes: Sequence[Crash] = ()
    ledger: Ledger | None = None
    limits: Limits = Limits()
    complete: bool = True
    tables: Mapping[str, object] = field(default_factory=dict)
    expected: Mapping[str, object] | None = None


def server_calls(history: History) -> int:
    """Count the requests that the server may charge for."""
    return sum(call.counts for call in history.calls)


def repeated(history: History) -> list[str]:
    """Return the keys of answered questions that were asked again, once for each time.

    An answer counts once it is in the store at a crash, or was served in a life that went on: a
    second request for it in the same life is a repetition, too.
    """
    found: list[str] = []
    for crash in history.crashes:
        later = (call for call in history.calls if call.life > crash.life)
        found += [call.key for call in later if call.key in crash.stored]
    served = Counter((call.life, call.key) for call in history.calls if call.outcome == "served")
    found += [key for (_, key), times in served.items() for _ in range(times - 1)]
    return sorted(found)


def differing(history: History) -> list[str]:
    """Return the tables that differ from those of the undisturbed run."""
    if history.expected is None:
        return []
    names = history.tables.keys() | history.expected.keys()
    return sorted(n for n in names if history.tables.get(n) != history.expected.get(n))


def passed_caps(history: History) -> list[str]:
    """Return each cap that the ledger, or what the server served, has passed."""
    served = [call for call in history.calls if call.outcome == "served"]
    seen = {"calls": len(served), "tokens": sum(call.tokens for call in served)}
    ledger = history.ledger
    found = []
    for name in ("examples", "calls", "tokens"):
        cap = getattr(history.limits, name)
        counts = {"the server": seen.get(name, 0)}
        if ledger is not None:
            counts["the ledger"] = getattr(ledger, name)
        found += [
            f"cap on {name} passed: {who} has {count}, the cap is {cap}"
            for who, count in counts.items()
            if cap is not None and count > cap
        ]
    return found


def violations(history: History) -> list[str]:
    """Return a sentence for each promise that the history breaks."""
    found = [] if history.complete else ["the run did not complete"]
    if history.ledger is not None:
        found += _miscounted(history, history.ledger.calls)
    elif server_calls(history):
        found.append(f"the server has {server_calls(history)} calls, and there is no ledger")
    if keys := repeated(history):
        found.append(f"{len(keys)} answered requests were asked again")
    found += passed_caps(history)
    if names := differing(history):
        found.append(f"tables differ from the undisturbed run: {', '.join(names)}")
    return found


def _miscounted(history: History, ledger: int) -> list[str]:
    """Compare the ledger's calls with the server's; the client cannot know of some.

    These are calls in flight at a crash, and rejected ones. A reply that makes no sense may have
    been charged for, so it counts on the ledger, if not here. Behind it the server hangs up without
    saying so: one more request, the next on that connection, may get lost on its way and count.
    """
    least = server_calls(history)
    in_flight = sum(crash.most_in_flight for crash in history.crashes)
    outcomes = Counter(call.outcome for call in history.calls)
    unclear = outcomes["rejected"] + 2 * outcomes["unknown"]
    if ledger < least:
        return [f"the server has {least} calls, the ledger only {ledger}"]
    if ledger > least + in_flight + unclear:
        return [
            f"the ledger has {ledger} calls, the server {least}; only {in_flight} can have been in "
            f"flight at crashes, and {unclear} rejected or lost"
        ]
    return []
