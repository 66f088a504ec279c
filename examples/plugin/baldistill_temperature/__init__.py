"""Parts of one's own: a policy, a metric, a selection score, a filter and a task type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Temperature:
    """A domain's share is n_d ** (1 / temperature): 1 follows the corpus, more is more even.

    Source: Arivazhagan et al. 2019 (arXiv 1907.05019), section 3.
    """

    temperature: float = 5.0

    def __post_init__(self) -> None:
        """Refuse a temperature that has no meaning."""
        if self.temperature < 1:
            raise ValueError(f"temperature must be at least 1, not {self.temperature}")

    def quotas(self, stage: Any) -> dict[str, int]:
        """Return whole numbers that sum to `stage.budget`, by largest remainder.

        `stage` is a `baldistill.core.own_policy.StageFacts`.
        """
        weights = {name: count ** (1 / self.temperature) for name, count in stage.counts.items()}
        shares = {n: stage.budget * w / sum(weights.values()) for n, w in weights.items()}
        quotas = {name: int(share) for name, share in shares.items()}
        by_remainder = sorted(quotas, key=lambda name: (quotas[name] - shares[name], name))
        for name in by_remainder[: stage.budget - sum(quotas.values())]:
            quotas[name] += 1
        return quotas


class Gap:
    """How far the best domain is from the worst: 0 where all are alike."""

    def measure(self, scores: dict[str, float], counts: dict[str, int]) -> float:
        """Return the difference, from figures in [0, 1] by domain; sizes are not needed here."""
        return max(scores.values()) - min(scores.values())


@dataclass(frozen=True)
class Longest:
    """Candidates with a long response come first, up to so many tokens."""

    most: int = 512

    def score(self, candidate: Any) -> float | None:
        """Return the score of a `baldistill.core.own_score.Candidate`; None ranks last."""
        return candidate.num_tokens if candidate.num_tokens <= self.most else None


@dataclass(frozen=True)
class Brief:
    """The teacher's answers of at most so many words are kept: a small student has few tokens."""

    words: int = 60

    def fault(self, answer: Any) -> str | None:
        """Return why a `baldistill.core.own_filter.TeacherAnswer` is rejected, or None."""
        return "too many words" if len(answer.rationale.split()) > self.words else None


class Percent:
    """Answers in percent: the last number before a per cent sign; a tenth of a percent is equal."""

    def extract(self, text: str, choices: Sequence[str] | None, question: str | None) -> str | None:
        """Return the answer that a response gives; None if it gives none."""
        found = re.findall(r"(-?\d+(?:\.\d+)?)\s*%", text)
        return f"{float(found[-1]):g} %" if found else None

    def equal(self, a: str, b: str) -> bool:
        """Return whether two answers are the same; b may be a gold answer as it stands."""
        one, other = (self.extract(text, None, None) for text in (a, b))
        if one is None or other is None:
            return False
        return abs(float(one[:-2]) - float(other[:-2])) < 0.1
