"""Real examples that a stage may still try: those that were selected, then more of the corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from baldistill.data.corpus import sample
from baldistill.method.context import Context
from baldistill.method.earlier import tried_before
from baldistill.method.filling import Draw
from baldistill.records import Example
from baldistill.run_folder.layout import StageLayout


class Candidates:
    """Real examples of each domain, best first.

    Further ones are drawn by a seeded hash and not by the student's score, which would cost
    another pass of the student.
    """

    def __init__(self, context: Context, stage: int) -> None:
        """Begin with `selected.parquet`."""
        self._context, self._stage = context, stage
        table = context.storage.read_table(StageLayout(stage).selected)
        table = table.sort_by([("domain", "ascending"), ("rank", "descending")])
        self._queues: dict[str, list[Example]] = {}  # best last
        self._seen: set[str] = set()
        self._num_draws = 0
        self._add(Example.from_table(table))

    def at_hand(self) -> Counter[str]:
        """Return how many examples of each domain can be taken."""
        return Counter({domain: len(queue) for domain, queue in self._queues.items()})

    def take(self, counts: Mapping[str, int]) -> list[Example]:
        """Take the next examples of each domain, in the order of the domains' names."""
        taken: list[Example] = []
        for domain in sorted(counts):
            queue = self._queues.get(domain, [])
            taken += [queue.pop() for _ in range(min(counts[domain], len(queue)))]
        return taken

    def draw(self, action: Draw) -> None:
        """Draw further rows, of all domains in one pass over the corpus."""
        self._num_draws += 1
        # Each draw needs a fresh seed: earlier draws left rows with low hashes.
        rows = sample(
            self._context.storage,
            action.counts,
            action.untried,
            tried=tried_before(self._context.storage, self._stage) | self._seen,
            seed=self._context.seed(f"further candidates {self._num_draws}", self._stage),
        )
        self._add(reversed(Example.from_table(rows)))

    def _add(self, examples: Iterable[Example]) -> None:
        for example in examples:
            self._queues.setdefault(example.domain, []).append(example)
            self._seen.add(example.example_id)
