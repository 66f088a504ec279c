"""Fill the quotas of a stage: what to ask for next, and why a unit of the budget stays missing.

A pure state machine over counts: it yields actions, and `annotate.py` does them and records what
was accepted. For each domain, in this order:

1. Explain the real examples at hand: those that were selected, best first.
2. Draw more of its unused rows from the corpus.
3. When its real examples ran out: explain those again that were accepted, synthesize new ones, or
   repeat old ones, in the order of `tail.fill`; the next does what the one before could not.
4. What it could not fill goes to the other domains, by the same policy, and they begin at 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from baldistill.config.budget import TailFill

SPARES = 8
"""Candidates beyond a quota, at least, that replace what the teacher cannot explain."""

_MOST_TRIED = 20
"""Rows drawn for each missing example, at most."""


@dataclass(frozen=True, slots=True)
class Explain:
    """Take so many of the real examples at hand of each domain, and explain them."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Draw:
    """Draw so many rows of each domain, out of those that are untried, to have them at hand."""

    counts: dict[str, int]
    untried: dict[str, int]


@dataclass(frozen=True, slots=True)
class ExplainAgain:
    """Write so many further rationales for accepted real examples of each domain."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Synthesize:
    """Write so many new examples of each domain."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Repeat so many annotated real examples of each domain."""

    counts: dict[str, int]


Action: TypeAlias = Explain | Draw | ExplainAgain | Synthesize | Repeat


class Filling:
    """The quotas of a stage while they are being filled.

    Attributes:
        quotas: Examples of each domain; they always sum to B_i.
        accepted: Accepted examples of each domain.
        dry: Domains that could not fill their quota.
        refused: The cap of the ledger that ended the work; None for none.
    """

    def __init__(
        self,
        quotas: Mapping[str, int],
        *,
        at_hand: Mapping[str, int],
        unused: Mapping[str, int],
        fills: Sequence[TailFill],
        redistribute: Callable[[int, Collection[str]], Mapping[str, int]],
        per_example: int = 1,
    ) -> None:
        """Begin with nothing accepted.

        Args:
            quotas: The plan's.
            at_hand: Selected real examples of each domain.
            unused: Real examples of each domain that no earlier stage tried, with those at hand.
            fills: What follows in order when the real examples of a domain ran out.
            redistribute: Gives a number of examples to the domains that are not dry, and returns
                the extra quota of each; empty if all are dry.
            per_example: Units of the budget that a real example may give.
        """
        self.quotas = dict(quotas)
        self.accepted: Counter[str] = Counter()
        self.dry: set[str] = set()
        self.refused: str | None = None
        self._fills, self._redistribute = tuple(fills), redistribute
        self._per_example = per_example
        self._unused = dict(unused)
        self._at_hand = Counter(at_hand)
        self._untried = {domain: n - self._at_hand[domain] for domain, n in unused.items()}
        self._accepted_real: Counter[str] = Counter()
        self._accepted_at_draw = dict.fromkeys(at_hand, 0)

    def actions(self) -> Iterator[Action]:
        """Yield what to do next; `record` an action before asking for the next one."""
        while self.missing():
            yield from self._real_actions()
            yield from self._tail_actions()
            missing = self.missing()
            if self.refused or not missing:
                return  # a domain that a cap left unfilled has not run dry
            self.dry.update(missing)
            if "none" in self._fills or not self._give_to_others(missing):
                return

    def record(
        self, action: Action, accepted: Mapping[str, int], refused: str | None = None
    ) -> None:
        """Record what became of an action.

        Args:
            action: The last action.
            accepted: Examples of each domain that it added.
            refused: The cap of the ledger that refused a part of it.
        """
        self.accepted.update(accepted)
        if isinstance(action, Explain):
            self._accepted_real.update(accepted)
        self.refused = self.refused or refused

    def missing(self) -> dict[str, int]:
        """Return how many examples each domain still lacks, without domains that lack none."""
        return {d: n - self.accepted[d] for d, n in self.quotas.items() if n > self.accepted[d]}

    def unfilled(self) -> dict[str, int]:
        """Return the units of B_i that stay missing at the end, by reason."""
        missing = sum(self.missing().values())
        if self.refused:
            reason = f"the cap on {self.refused}"
        elif "none" in self._fills:
            ends = "is" if len(self._fills) == 1 else "ends with"
            reason = f"domains ran dry and tail.fill {ends} none"
        else:
            reason = "all domains ran dry"
        return {reason: missing} if missing else {}

    def _real_actions(self) -> Iterator[Action]:
        """Try real examples until the quotas are filled or there are no more to try."""
        while not self.refused:
            missing = self.missing()
            wanted = {d: math.ceil(missing[d] / self._per_example) for d in sorted(missing)}
            at_hand = {d: min(n, self._at_hand[d]) for d, n in wanted.items()}
            counts = {domain: count for domain, count in at_hand.items() if count}
            if counts:
                self._at_hand.subtract(counts)
                yield Explain(counts)
            elif counts := self._to_draw(missing):
                yield Draw(counts, dict(self._untried))
                for domain, count in counts.items():
                    self._untried[domain] -= count
                    self._at_hand[domain] += count
                    self._accepted_at_draw[domain] = self._accepted_real[domain]
            else:
                return

    def _to_draw(self, missing: Mapping[str, int]) -> dict[str, int]:
        """Return how many rows to draw of each domain that has nothing at hand.

        A domain whose last examples were all rejected gets no more: its teacher would be paid
        without end.
        """
        return {
            domain: min(self._untried[domain], self._enough(domain, count))
            for domain, count in missing.items()
            if self._untried[domain]
            and self._accepted_at_draw.get(domain) != self._accepted_real[domain]
        }

    def _enough(self, domain: str, count: int) -> int:
        """Return how many rows should give so many accepted examples.

        Twice as many as the examples tried so far would need: another pass over the corpus costs
        more than rows that are never tried.
        """
        tried, accepted = self._unused[domain] - self._untried[domain], self._accepted_real[domain]
        for_each = 2 * tried / accepted if accepted else 2.0
        return math.ceil(count * min(for_each, _MOST_TRIED)) + SPARES

    def _tail_actions(self) -> Iterator[Action]:
        """Fill domains whose real examples ran out."""
        for fill in self._fills:
            missing = self.missing()
            ran_out = {d: n for d, n in missing.items() if not self._untried[d] + self._at_hand[d]}
            if fill == "repeat" and missing:
                yield Repeat(missing)
            elif fill == "rationales" and ran_out and not self.refused:
                yield ExplainAgain(ran_out)
            elif fill == "synthesize" and ran_out and not self.refused:
                yield Synthesize(ran_out)

    def _give_to_others(self, missing: Mapping[str, int]) -> bool:
        """Move what dry domains lack into the other quotas; return whether there are any."""
        extra = self._redistribute(sum(missing.values()), self.dry)
        if not extra:
            return False
        for domain, count in missing.items():
            self.quotas[domain] -= count
        for domain, count in extra.items():
            self.quotas[domain] += count
        return True
