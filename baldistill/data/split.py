"""Choose the rows of the evaluation set.

Evaluation rows that the user gave or marked are chosen up to `evaluation_max_per_domain`. If there
are none, a share of each domain is set aside. Both ways take a top-k per domain by a seeded hash of
the example id, in each part, and merge them. The choice is exact and does not depend on the order
of rows and files, and the candidates stay few, whatever the size of the corpus.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from baldistill.core.selection import hash_score, merge_top_k, partial_top_k
from baldistill.data.duplicates import Duplicates
from baldistill.data.made_domains import read_domains, with_domains
from baldistill.data.near_duplicates import Neighbours
from baldistill.data.rows import count_values
from baldistill.run_folder import layout
from baldistill.storage import Storage

CANDIDATES = pa.schema(
    [
        ("domain", pa.string()),
        ("example_id", pa.string()),
        ("position", pa.int64()),
        ("question_key", pa.uint64()),
        ("score", pa.float64()),
    ]
)
_COLUMNS = ["domain", "example_id", "position", "role", "key", "id_key", "question_key"]
_MERGE_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best rows of each domain in a part (CANDIDATES), and how many rows there were."""

    rows: pa.Table
    counts: Mapping[str, int]


def part_candidates(
    storage: Storage,
    name: str,
    duplicates: Duplicates,
    role: int,
    seed: int,
    most: int,
    *,
    by_chat: bool = False,
    near: Neighbours | None = None,
) -> Candidates:
    """Return at most `most` rows of each domain of a staged part, among those of a role.

    Rows that repeat an earlier one, or are `near` one, are left out. With `by_chat` all turns of a
    chat have one hash, so that chats are chosen whole, but for the last one of a domain.
    """
    table = pq.read_table(
        storage.path(f"{layout.STAGING}/rows/{name}.parquet"),
        filesystem=storage.fs,
        columns=_COLUMNS,
        use_threads=False,
    )
    table = with_domains(table, read_domains(storage, name))
    position = table["position"].to_numpy()
    table = table.filter(
        pa.array(
            (table["role"].to_numpy() == role)
            & (duplicates.originals(table["key"].to_numpy(), position) < 0)
            & (duplicates.originals(table["id_key"].to_numpy(), position) < 0)
            & ((near or Neighbours.none()).of_rows(position)[0] < 0)
        )
    )
    counts = count_values(table["domain"])
    names = table["example_id"]
    if by_chat:
        names = pc.replace_substring_regex(names, r"-\d+$", "")
    scored = table.append_column("score", pa.array(hash_score(seed, names)))
    best = partial_top_k(scored, "score", dict.fromkeys(counts, most))
    return Candidates(best.select(CANDIDATES.names).cast(CANDIDATES), counts)


@dataclass(slots=True)
class CandidateMerge:
    """Merges the candidates of the parts and holds about `most` rows a domain at a time."""

    most: int
    counts: Counter[str] = field(default_factory=Counter)
    _tables: list[pa.Table] = field(default_factory=list)
    _num_rows: int = 0

    def add(self, candidates: Candidates) -> None:
        """Take the candidates of a part."""
        self.counts.update(candidates.counts)
        self._tables.append(candidates.rows)
        self._num_rows += len(candidates.rows)
        if self._num_rows > _MERGE_ROWS:
            self._tables = [self.top(dict.fromkeys(self.counts, self.most))]
            self._num_rows = -len(self._tables[0])  # merge again after as many new rows

    def top(self, quotas: Mapping[str, int]) -> pa.Table:
        """Return the chosen rows of each domain (CANDIDATES)."""
        return merge_top_k(self._tables or [CANDIDATES.empty_table()], "score", quotas)


def split_sizes(counts: Mapping[str, int], fraction: float, most: int) -> dict[str, int]:
    """Return the sizes of a seeded split, by domain: clamp(round(fraction n), 1, most).

    A domain keeps at least one row for training, so one with a single row has no evaluation row.
    """
    return {
        domain: min(max(math.floor(fraction * n + 0.5), 1), most, n - 1)
        for domain, n in counts.items()
    }


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """The chosen rows, small enough for every worker; both arrays are ascending."""

    position: npt.NDArray[np.int64]
    question_key: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, chosen: pa.Table) -> EvaluationSet:
        """Read rows of CANDIDATES."""
        return cls(
            np.sort(chosen["position"].to_numpy()), np.unique(chosen["question_key"].to_numpy())
        )
