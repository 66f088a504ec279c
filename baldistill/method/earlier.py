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
from baldistill.teacher.further import REPEATED


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
    """Return how many explanations of real examples teachers wrote, and those not accepted."""
    accepted: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for earlier in range(1, stage):
        names = StageLayout(earlier)
        done = storage.read_table(names.annotated, ["domain", "source", "request_id"])
        explained = pc.is_in(done["source"], pa.array(["real", "further"]))
        asked = pc.and_(explained, pc.is_valid(done["request_id"]))
        accepted.update(done.filter(asked)["domain"].to_pylist())
        refused = storage.read_table(names.rejected, ["domain", "purpose", "reason"])
        # a further rationale that says what another did is not wrong
        new = pc.invert(pc.starts_with(refused["reason"], REPEATED))
        wrong = refused.filter(pc.and_(pc.equal(refused["purpose"], "rationale"), new))
        rejected.update(wrong["domain"].to_pylist())
    both = accepted + rejected
    return {domain: Asked(both[domain], rejected[domain]) for domain in sorted(both)}


def _annotated_tables(storage: Storage, stage: int) -> Iterator[pa.Table]:
    for earlier in range(1, stage):
        yield storage.read_table(StageLayout(earlier).annotated)


def _dropped_before(storage: Storage, stage: int) -> dict[str, str]:
    """Return the domain of each dropped example by its id."""
    dropped: dict[str, str] = {}
    for earlier in range(1, stage):
        dropped |= storage.read_json(StageLayout(earlier).dropped)
    return dropped
