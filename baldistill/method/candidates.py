"""Real examples while a stage is annotated: those that were selected, then more of the corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping

from baldistill.data.corpus import sample
from baldistill.method.context import Context
from baldistill.method.plan import StagePlan
from baldistill.method.select import SPARES
from baldistill.records import Example
from baldistill.run_folder.layout import StageLayout

_MOST_TRIED = 20  # rows drawn for each example that is lacking, at most


class Candidates:
    """Real examples of each domain that this stage may still try.

    What was selected comes first, best first. A domain that needs more, because the teacher could
    not explain enough of them or because it got what others could not use, draws from its unused
    rows by a seeded hash: not by the student's score, which would cost another pass of the student.
    """

    def __init__(self, context: Context, plan: StagePlan) -> None:
        """Begin with `selected.parquet`."""
        self._context, self._plan = context, plan
        table = context.storage.read_table(StageLayout(plan.stage).selected)
        table = table.sort_by([("domain", "ascending"), ("rank", "descending")])
        self._queue: dict[str, list[Example]] = {}  # best last
        self._seen = set(table["example_id"].to_pylist())
        for row in Example.from_table(table):
            self._queue.setdefault(row.domain, []).append(row)
        self._left = {d: n - len(self._queue.get(d, ())) for d, n in plan.unused.items()}
        self._accepted = dict.fromkeys(self._queue, 0)  # when the queue was last filled
        self._draws = 0

    def take(self, wanted: Mapping[str, int]) -> list[Example]:
        """The next examples of each domain, as many as are at hand."""
        return [
            self._queue[domain].pop()
            for domain in sorted(wanted)
            for _ in range(min(wanted[domain], len(self._queue.get(domain, ()))))
        ]

    def draw(self, missing: Mapping[str, int], accepted: Mapping[str, int]) -> bool:
        """Draw more for domains that lack examples, all of them in one pass over the corpus.

        A domain of whose last examples not one was accepted gets no more: its teacher would be
        paid without end.

        Args:
            missing: What domains with nothing at hand lack.
            accepted: Real examples of each domain that were accepted so far.

        Returns:
            Whether there are more to take now.
        """
        wanted = {
            domain: min(self._left[domain], self._enough(domain, number, accepted))
            for domain, number in missing.items()
            if self._left[domain] and self._accepted.get(domain) != accepted.get(domain, 0)
        }
        if not wanted:
            return False
        self._draws += 1
        # another seed than before: of the rows that one left, none has a high hash
        rows = sample(
            self._context.storage,
            wanted,
            self._left,
            tried=self._context.tried_before(self._plan.stage) | self._seen,
            seed=self._context.seed(f"further candidates {self._draws}", self._plan.stage),
        )
        for row in reversed(Example.from_table(rows)):
            self._queue.setdefault(row.domain, []).append(row)
            self._seen.add(row.example_id)
        for domain, number in wanted.items():
            self._left[domain] -= number
            self._accepted[domain] = accepted.get(domain, 0)
        return True

    def _enough(self, domain: str, number: int, accepted: Mapping[str, int]) -> int:
        """Rows that should give so many examples, going by those that were tried: a pass is dear.

        Twice as many as needed at that rate; what is not tried costs nothing.
        """
        num_tried = self._plan.unused[domain] - self._left[domain]
        each = 2 * num_tried / accepted[domain] if accepted.get(domain) else 2.0
        return math.ceil(number * min(each, _MOST_TRIED)) + SPARES

    def ran_out(self, domain: str) -> bool:
        """Whether every real example of a domain was tried."""
        return not self._left[domain] and not self._queue.get(domain)
