"""A tail domain while new examples are written for it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from baldistill.records import Example
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.question import Question


@dataclass(slots=True)
class TailDomain:
    """A tail domain during one stage.

    Attributes:
        demonstrations: Real examples to show; those that go before others are left out.
        existing: Questions that a new question must not resemble.
        first: Demonstrations that are shown before any others.
        num_asked: Calls made for the domain in this stage; makes each call's id unique.
        recorded: What each teacher (by its place, from 1) recorded and no stage has tried.
    """

    demonstrations: Sequence[Example]
    existing: ExistingQuestions
    first: Sequence[Example] = ()
    num_asked: int = 0
    recorded: Mapping[int, deque[Question]] = field(default_factory=dict)

    def sample(self, number: int, generator: random.Random) -> list[Example]:
        """Draw demonstrations: as many of the `first` ones as there are, then others."""
        drawn = generator.sample(self.first, min(number, len(self.first)))
        left = min(number - len(drawn), len(self.demonstrations))
        return drawn + generator.sample(self.demonstrations, left)
