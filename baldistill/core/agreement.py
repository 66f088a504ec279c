"""Measure how far a judge and a person agree about the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two raters who each accept or reject the same answers.

    Attributes:
        both: Answers that both accept.
        judge_alone: That the judge alone accepts.
        person_alone: That the person alone accepts.
        neither: That neither accepts.
    """

    both: int
    judge_alone: int
    person_alone: int
    neither: int

    @property
    def count(self) -> int:
        """Return the number of rated answers."""
        return self.both + self.judge_alone + self.person_alone + self.neither

    @property
    def accuracy(self) -> float | None:
        """Share of the answers about which the two agree; None without any."""
        return (self.both + self.neither) / self.count if self.count else None

    @property
    def kappa(self) -> float | None:
        """Return Cohen's kappa (1960): agreement beyond what two such raters reach by chance.

        1 is full agreement, 0 is chance. None where it is undefined: chance alone agrees fully,
        because both gave one and the same answer throughout.
        """
        if not self.count:
            return None
        judge = (self.both + self.judge_alone) / self.count
        person = (self.both + self.person_alone) / self.count
        chance = judge * person + (1 - judge) * (1 - person)
        observed = (self.both + self.neither) / self.count
        return None if chance == 1 else (observed - chance) / (1 - chance)


def agreement(judge: Sequence[bool], person: Sequence[bool]) -> Agreement:
    """Count how two raters, who rated the same answers in this order, agree."""
    counts = Counter(zip(judge, person, strict=True))
    return Agreement(
        counts[True, True], counts[True, False], counts[False, True], counts[False, False]
    )
