"""A majority among several answers to the same question, of which no more are asked than needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

DEFAULT_VOTES = 3


def quorum(votes: int) -> int:
    """Return the smallest number that is more than half of the votes."""
    return votes // 2 + 1


@dataclass(slots=True)
class Ballots:
    """The answers to one question so far, grouped by what they conclude.

    A conclusion joins the first group whose first conclusion is the same: equality of numbers
    within a tolerance is not transitive, so the order of the answers decides.

    Attributes:
        votes: The most answers. More than half of them must agree.
        same: Whether two conclusions are the same.
        cast: How many answers have come.
        groups: The conclusions and the numbers of their answers, from 0, for each group.
    """

    votes: int
    same: Callable[[str, str], bool]
    cast: int = 0
    groups: list[tuple[str, list[int]]] = field(default_factory=list)

    def add(self, conclusion: str | None) -> None:
        """Count the next answer; one without a conclusion votes for nothing."""
        number, self.cast = self.cast, self.cast + 1
        if conclusion is None:
            return
        for first, members in self.groups:
            if self.same(first, conclusion):
                members.append(number)
                return
        self.groups.append((conclusion, [number]))

    def winner(self) -> tuple[str, list[int]] | None:
        """Return the conclusion of the majority and its answers; None while there is none."""
        for conclusion, members in self.groups:
            if len(members) >= quorum(self.votes):
                return conclusion, members
        return None

    def missing(self) -> int:
        """Return how many more answers are needed at least for a majority.

        0 if there is one, or if the answers that are left cannot bring one about.
        """
        leading = max((len(members) for _, members in self.groups), default=0)
        needed = max(0, quorum(self.votes) - leading)
        return needed if needed <= self.votes - self.cast else 0
