"""A user's own selection score: what it is told of a candidate, and the check of what it gives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from baldistill.core.own_parts import SCORES, OwnPartError, calling, make, of_example


@dataclass(frozen=True, slots=True)
class OwnScore:
    """A class of your own with a method `score(candidate)`; see docs/own-parts.md."""

    kind: str
    """`package.module:Name`, or the name of an entry point of the group `baldistill.scores`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments with which the class is made."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Facts about a candidate that a user's score is told.

    Attributes:
        answer: The gold answer; empty where the corpus has none.
        response: What the student answered, or the gold answer with `selection.text: gold`.
        num_tokens: Of the response.
        nll_conditional: Mean negative log-likelihood of the response, given the question; None for
            an empty one.
        nll_unconditional: The same without the question.
        ifd: PPL(response given question) / PPL(response); None where it is undefined.
        correct: Whether the response is right; None where that is not known.
    """

    example_id: str
    domain: str
    question: str
    answer: str
    response: str
    num_tokens: int
    nll_conditional: float | None
    nll_unconditional: float | None
    ifd: float | None
    correct: bool | None


def own_scores(score: OwnScore, candidates: Iterable[Candidate]) -> list[float]:
    """Let a user's class score candidates: the highest are selected.

    Returns:
        A score of each; NaN, which ranks last, where the class gives None.

    Raises:
        OwnPartError: The class cannot be made, fails, or gives something that is no number.
    """
    part = make(score.kind, score.options, "score", SCORES)
    values = []
    for candidate in candidates:
        with of_example(candidate.example_id):
            with calling(score.kind, "score"):
                value = part.score(candidate)
            values.append(_number(score.kind, value))
    return values


def check_own_score(score: OwnScore) -> None:
    """Make the class once: if it cannot be made, the user learns that before anything is paid.

    Raises:
        OwnPartError: As `own_scores`.
    """
    make(score.kind, score.options, "score", SCORES)


def _number(kind: str, value: Any) -> float:
    if value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise OwnPartError(f"{kind}: score must return a finite number or None, not {value!r:.80}")
    return number
