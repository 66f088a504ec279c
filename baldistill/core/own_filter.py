"""A user's own filter: what it is told of a teacher's answer, and the check of what it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from baldistill.core.own_parts import FILTERS, OwnPartError, calling, make

_LONGEST_REASON: Final = 80  # characters: reasons are counted, and stand in tables


@dataclass(frozen=True, slots=True)
class OwnFilter:
    """A class of your own with a method `fault(answer)`; see docs/own-parts.md."""

    kind: str
    """`package.module:Name`, or the name of an entry point of the group `baldistill.filters`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments with which the class is made."""


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """Facts about an answer of the teacher that a user's filter is told.

    Attributes:
        source: `real` for an answer to an example of the corpus, `synthetic` for a new example.
        question: With its context, where it has one.
        rationale: The steps before the answer; empty for none.
        answer: What the teacher concludes.
    """

    source: Literal["real", "synthetic"]
    domain: str
    question: str
    rationale: str
    answer: str


def own_fault(own_filter: OwnFilter | None, answer: TeacherAnswer) -> str | None:
    """Let a user's class say why an answer is not good enough; None for a good one.

    Raises:
        OwnPartError: The class cannot be made, fails, or gives something that is no reason.
    """
    if own_filter is None:
        return None
    part = _made(own_filter.kind, json.dumps(own_filter.options, sort_keys=True))
    with calling(own_filter.kind, "fault"):
        reason = part.fault(answer)
    if reason is None:
        return None
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= _LONGEST_REASON:
        raise OwnPartError(
            f"{own_filter.kind}: fault must return None or a reason of at most {_LONGEST_REASON} "
            f"characters, not {reason!r:.100}"
        )
    return f"filtered: {reason.strip()}"


def check_own_filter(own_filter: OwnFilter | None) -> None:
    """Make the class once: if it cannot be made, the user learns that before anything is paid.

    Raises:
        OwnPartError: As `own_fault`.
    """
    if own_filter is not None:
        _made(own_filter.kind, json.dumps(own_filter.options, sort_keys=True))


@lru_cache(maxsize=16)
def _made(kind: str, options: str) -> Any:
    return make(kind, json.loads(options), "fault", FILTERS)
