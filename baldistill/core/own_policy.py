"""A user's own budget policy: what it is told, and the check of what it gives back."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from baldistill.core.own_parts import POLICIES, OwnPartError, calling, make

if TYPE_CHECKING:
    from baldistill.core.policies import Asked


@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """A class of your own with a method `quotas(stage)`; see docs/own-parts.md."""

    kind: str
    """`package.module:Name`, or the name of an entry point of the group `baldistill.policies`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments with which the class is made. Its option `questions`, if it has one, is the
    number of real examples of each domain that the student answers before a stage."""

    def __post_init__(self) -> None:
        """Raise ValueError on a number of questions that cannot be asked."""
        questions = self.options.get("questions", 0)
        if not isinstance(questions, int) or not 0 <= questions <= 10_000:
            raise ValueError(
                f"options.questions must be a whole number from 0 to 10,000, not {questions!r}"
            )

    @property
    def questions(self) -> int:
        """Return how many real examples of each domain the student is to answer; 0 for none."""
        return int(self.options.get("questions", 0))


@dataclass(frozen=True, slots=True)
class MeasuredOwn:
    """A user's policy with what is known before a stage; see `StageFacts`."""

    rule: OwnPolicy
    answers: Mapping[str, Asked] = field(default_factory=dict)
    trained: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageFacts:
    """Facts about a stage that a user's policy is told.

    Attributes:
        counts: Examples n_d of each domain in the whole corpus.
        stage: The stage i, from 1.
        num_stages: Stages K.
        budget: B_i, which the quotas must sum to.
        answers: By domain, how many of its real examples the current student was asked, and how
            many it got wrong. Empty in stage 1, in `baldistill plan`, and without `questions`.
        trained: Units of each domain that earlier stages annotated.
    """

    counts: Mapping[str, int]
    stage: int
    num_stages: int
    budget: int
    answers: Mapping[str, Asked]
    trained: Mapping[str, int]


def own_quotas(
    policy: OwnPolicy | MeasuredOwn,
    counts: Mapping[str, int],
    stage: int,
    num_stages: int,
    budget: int,
) -> dict[str, int]:
    """Ask a user's policy for the quotas of a stage, and check them.

    Returns:
        The quota of each domain, in the order of their names. One that it does not name has 0.

    Raises:
        OwnPartError: It cannot be made, or fails; or its quotas are no whole numbers from 0 on,
            are of other domains, or do not sum to the budget.
    """
    measured = MeasuredOwn(policy) if isinstance(policy, OwnPolicy) else policy
    kind = measured.rule.kind
    part = make(kind, measured.rule.options, "quotas", POLICIES)
    facts = StageFacts(
        dict(counts), stage, num_stages, budget, dict(measured.answers), dict(measured.trained)
    )
    with calling(kind, "quotas"):
        given = part.quotas(facts)
    if not isinstance(given, Mapping):
        raise OwnPartError(f"{kind}: quotas must return a mapping of domains, not {given!r:.80}")
    if unknown := sorted(set(given) - set(counts)):
        raise OwnPartError(f"{kind}: stage {stage} has quotas of unknown domains: {unknown[:5]}")
    quotas = {domain: _whole(kind, domain, given.get(domain, 0)) for domain in sorted(counts)}
    if (total := sum(quotas.values())) != budget:
        raise OwnPartError(
            f"{kind}: the quotas of stage {stage} sum to {total:,}, and its budget is {budget:,}: "
            "they must be equal"
        )
    return quotas


def _whole(kind: str, domain: str, value: Any) -> int:
    try:
        number = operator.index(value)  # numpy's integers too, but no 12.0
    except TypeError:
        number = -1
    if number < 0:
        raise OwnPartError(f"{kind}: the quota of {domain} is {value!r}: give a whole number >= 0")
    return number
