"""The log of a ledger: numbered segments, each a file of JSON lines with checksums.

`teacher/ledger_actor.py` writes them. Here they are read, and what is missing or damaged is named.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from baldistill.core.checked_lines import from_line, to_line
from baldistill.core.ledger import Entry, Own, from_record, to_record
from baldistill.core.ledger_state import LedgerState
from baldistill.errors import UserError
from baldistill.run_folder import layout
from baldistill.run_folder.integrity import Damage, committed_steps
from baldistill.run_folder.steps import num_segments, recorded_segments
from baldistill.storage import Storage

_READERS = 16  # segments read at once: an object store takes long for each
_LOSS = (
    "what the lost lines of the ledger say was spent is forgotten, so that the caps of the budget "
    "allow it again; the teacher's answers stay in the store, and are not asked for again"
)


@dataclass(frozen=True, slots=True)
class _Segment:
    """One file of a log, or one that is missing.

    Attributes:
        name: Its file name; for a missing one, the name that it would have.
        entries: Those of its whole lines.
        problem: What is wrong with it; goes on from the name. None if nothing is.
    """

    name: str
    entries: tuple[Entry, ...]
    problem: str | None = None


def read_log(log: Storage) -> tuple[list[str], list[Entry]]:
    """Read the log of a ledger: its segments' names in order, and the entries of all of them.

    Raises:
        UserError: A segment is damaged or missing.
    """
    segments = list(_segments(log))
    for segment in segments:
        if segment.problem is not None:
            raise _broken(log, segment)
    names = [segment.name for segment in segments]
    return names, [entry for segment in segments for entry in segment.entries]


def check_last_segment(run: Storage) -> None:
    """Check that the ledger of a run folder reaches as far as the last marker says.

    What is missing or damaged before its last segment is noticed when the ledger is read.

    Raises:
        UserError: Segments are missing at its end.
    """
    found, recorded = num_segments(run), recorded_segments(run, committed_steps(run))
    if found < recorded:
        log = run.sub(layout.LEDGER)
        raise _broken(log, _Segment(f"{found:08d}.jsonl", (), "is missing"))


def ledger_damage(run: Storage) -> list[Damage]:
    """Return what is missing or damaged in the ledger of a run folder."""
    log = run.sub(layout.LEDGER)
    least = recorded_segments(run, committed_steps(run))
    return [
        Damage(log.uri_of(segment.name), segment.problem, _LOSS, partial(_mend, log, least))
        for segment in _segments(log, least)
        if segment.problem is not None
    ]


def _broken(log: Storage, segment: _Segment) -> UserError:
    return UserError(
        f"{log.uri_of(segment.name)}, a part of the budget's ledger, {segment.problem}. "
        "Restore the folder from a copy, or see what `baldistill repair RUN --accept-loss` would "
        "give up"
    )


def _segments(log: Storage, least: int = 0) -> Iterator[_Segment]:
    """Yield the segments in order, also the missing ones; `least` is how many there must be."""
    names = [name for name in log.list() if name.endswith(".jsonl")]
    expected = 0
    with ThreadPoolExecutor(_READERS) as readers:
        for name, content in zip(names, readers.map(log.read_bytes, names), strict=True):
            number = int(name[:8]) if name[:8].isdigit() else expected
            for missing in range(expected, number):
                yield _Segment(f"{missing:08d}.jsonl", (), "is missing")
            expected = max(expected, number + 1)
            yield _read(name, content)
    for missing in range(expected, least):
        yield _Segment(f"{missing:08d}.jsonl", (), "is missing")


def _read(name: str, content: bytes) -> _Segment:
    entries: list[Entry] = []
    problem: str | None = None
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), 1):
        try:
            entries.append(from_record(from_line(line)))
        except ValueError as error:
            problem = problem or f"is damaged in line {number}: {error}"
    if problem is None and not content.endswith(b"\n"):
        problem = "is cut"
    return _Segment(name, tuple(entries), problem)


def _mend(log: Storage, least: int) -> None:
    """Make the log whole without what was lost; entries that relied on it are dropped, too."""
    state = LedgerState(())
    for segment in list(_segments(log, least)):
        kept = list(_applicable(state, segment.entries))
        if segment.problem is not None or len(kept) < len(segment.entries):
            lines = [to_line(to_record(entry)) for entry in kept or [_note()]]
            log.write_bytes(segment.name, b"".join(lines))


def _applicable(state: LedgerState, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Apply entries to a state; yield those that can follow on what was applied before."""
    for entry in entries:
        try:
            state.apply(entry)
        except ValueError:
            continue
        yield entry


def _note() -> Own:
    """Return an entry that says nothing but stands in the place of lost ones."""
    return Own("repair", uuid.uuid4().hex)
