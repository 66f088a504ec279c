"""What became of the corpus, as figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """What `prepare_corpus` did.

    num_rows_read = sum(counts) + sum(evaluation_counts) + sum(quarantined) + num_capped.

    Attributes:
        num_rows_read: Rows of all files (blank lines are no rows).
        counts: Domain -> rows of the corpus, sorted by domain.
        evaluation_counts: Domain -> rows of the evaluation set, sorted by domain.
        quarantined: Reason -> rows in quarantine.
        num_capped: Evaluation rows beyond `evaluation_max_per_domain`: neither trained on, nor
            evaluated on, nor in quarantine.
        warnings: What a person should know.
    """

    num_rows_read: int
    counts: dict[str, int]
    evaluation_counts: dict[str, int]
    quarantined: dict[str, int]
    num_capped: int
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CorpusSummary:
        """What `to_dict` gave."""
        return cls(**values)
