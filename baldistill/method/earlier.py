"""Read what earlier stages of a run annotated, and which real examples they used up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from baldistill.core.policies import Asked
from baldistill.records import ANNOTATED
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage


def annotated_before(storage: Storage, stage: int) -> pa.Table:
    """Return all rows that the stages before this one annotated, in the order of the stages."""
    return joined([ANNOTATED.empty_table(), *_annotated_tables(storage, stage)])


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Join tables of examples; a row has nulls where its table lacks an optional column."""
    return pa.concat_tables(tables, promote_options="default")


def asked_before(storage: Storage, stage: int) -> set[str]:
    """Return the request ids of all answers that earlier stages accepted or rejected."""
    asked: set[str] = set()
    for earlier in range(1, stage):
        names = StageLayout(earlier)
        for name in (names.annotated, names.rejected):
            asked.update(storage.read_table(name, ["request_id"])["request_id"].to_pylist())
    return asked


def unused_before(storage: Storage, stage: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many of a corpus's real examples no earlier stage annotated or dropped."""
    used = Counter(_dropped_before(storage, stage).values())
    for table in _annotated_tables(storage, stage):
        used.update(table.filter(pc.equal(table["source"], "real"))["domain"].to_pylist())
    return {domain: count - used[domain] for domain, count in counts.items()}


def tried_before(storage: Storage, stage: int) -> set[str]:
    """Return the ids of real examples that earlier stages annotated or dropped: a few B at most."""
    tried = set(_dropped_before(storage, stage))
    for table in _annotated_tables(storage, stage):
        real = pc.not_equal(table["source"], "synthetic")
        tried.update(table.filter(real)["example_id"].to_pylist())
    return tried


def trained_before(storage: Storage, stage: int) -> dict[str, int]:
    """Return how many units of each domain earlier stages annotated."""
    units: Counter[str] = Counter()
    for table in _annotated_tables(storage, stage):
        units.update(table["domain"].to_pylist())
    return dict(units)


def asked_teacher_before(storage: Storage, stage: int) -> dict[str, Asked]:
    """Return how many real examples teachers explained, and on how many they were given up.

    An example counts once, however many attempts or teachers of a cascade it took. It was given up
    if it was dropped, or if it was kept although no attempt was good (`rationale.on_mismatch`).
    """
    given_up = Counter(_dropped_before(storage, stage).values())
    asked = Counter(given_up)
    for earlier in range(1, stage):
        columns = ["domain", "source", "request_id", "verified"]
        done = storage.read_table(StageLayout(earlier).annotated, columns)
        # without a call no teacher was asked; a further rationale is of an example counted before
        is_asked = pc.and_(pc.equal(done["source"], "real"), pc.is_valid(done["request_id"]))
        done = done.filter(is_asked)
        asked.update(done["domain"].to_pylist())
        given_up.update(done.filter(pc.equal(done["verified"], False))["domain"].to_pylist())
    return {domain: Asked(asked[domain], given_up[domain]) for domain in sorted(asked)}


def _annotated_tables(storage: Storage, stage: int) -> Iterator[pa.Table]:
    for earlier in range(1, stage):
        yield storage.read_table(StageLayout(earlier).annotated)


def _dropped_before(storage: Storage, stage: int) -> dict[str, str]:
    """Return the domain of each dropped example by its id."""
    dropped: dict[str, str] = {}
    for earlier in range(1, stage):
        dropped |= storage.read_json(StageLayout(earlier).dropped)
    return dropped
