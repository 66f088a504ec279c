"""Answers to real examples that are accepted by majority: a teacher is asked several times.

One call of an example holds its unit of the budget: the first that was answered. If there is no
majority, it is rejected and gives the unit back. The other calls (of purpose `vote`) hold none.
Whether an example is accepted depends only on its answers, so a resumed run decides as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from baldistill.core.majority import Ballots
from baldistill.records import AnnotatedExample, Example
from baldistill.teacher.acceptance import Acceptance, Reading
from baldistill.teacher.question import Answer

NO_MAJORITY = "no majority"


@dataclass(slots=True)
class Poll:
    """The answers of one teacher to one example.

    Attributes:
        answers: In the order of their ballots.
        holder: The answer whose call holds the example's unit of the budget.
        refused: The cap that refused a call; None for none.
        fault: Why the first answer that has no vote has none; None where all have one.
    """

    example: Example
    acceptance: Acceptance
    ballots: Ballots = field(init=False)
    answers: list[Answer] = field(default_factory=list)
    holder: Answer | None = None
    refused: str | None = None
    fault: str | None = None

    def __post_init__(self) -> None:
        """Begin without an answer."""
        self.ballots = Ballots(self.acceptance.config.rationale.votes, self._same)

    def to_ask(self) -> range:
        """Return the ballots to ask for now; none where the outcome is certain.

        Until a call holds the unit, they are asked one by one: the next one may have to hold it.
        """
        missing = 0 if self.refused else self.ballots.missing()
        number = len(self.answers)
        return range(number, number + (min(missing, 1) if self.holder is None else missing))

    def add(self, answer: Answer) -> None:
        """Count an answer. A call that failed counts as one without a conclusion."""
        if answer.outcome == "refused":
            self.refused = str(answer.reason)
            return
        self.answers.append(answer)
        conclusion = None
        # After a resume, an answer that was rejected earlier is read again. A failed call has no
        # text to read.
        if answer.outcome == "answered" or not answer.failure:
            self.holder = self.holder or answer
            reading = self.acceptance.read(self.example, answer)
            if (fault := self._fault(answer, reading)) is None:
                conclusion = reading.conclusion
            else:
                self.fault = self.fault or fault
        self.ballots.add(conclusion)

    def accepted(self) -> AnnotatedExample | None:
        """Return the example with the majority's answer; None if there is no majority."""
        winner = self.ballots.winner()
        if winner is None:
            return None
        conclusion, members = winner
        answer, attempts = self.answers[members[0]], len(self.answers)
        return self.acceptance.accepted(self.example, answer, conclusion, attempts)

    def rejected(self) -> tuple[Answer, str]:
        """Return the answer to reject, and why there is no majority."""
        if self.holder is None:
            return self.answers[-1], str(self.answers[-1].reason)
        if not self.ballots.groups:
            return self.holder, str(self.fault)
        return self.holder, NO_MAJORITY

    def _fault(self, answer: Answer, reading: Reading) -> str | None:
        return reading.fault or self.acceptance.filtered(self.example, answer, reading)

    def _same(self, a: str, b: str) -> bool:
        return self.acceptance.compare(self.example, a, b) is True


def hold(polls: Sequence[Poll], ask: Callable[[list[tuple[Poll, int]]], list[Answer]]) -> None:
    """Let all polls come to an end, round by round.

    Args:
        polls: Without an answer yet.
        ask: Returns the answers to ballots, in their order. Those of the first call are all the
            first of their poll, and no later call has one of these.
    """
    while asked := [(poll, ballot) for poll in polls for ballot in poll.to_ask()]:
        for (poll, _), answer in zip(asked, ask(asked), strict=True):
            poll.add(answer)
