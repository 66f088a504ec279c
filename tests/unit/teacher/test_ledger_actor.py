"""The ledger's log has one owner: a run that was suspended while another took over gets no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baldistill.answers.store import ResponseStore
from baldistill.core.ledger import Caps, Reserve
from baldistill.errors import UserError
from baldistill.run_folder.ledger_log import read_log
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import DurableLedger

TAKEN = "another run took over"
CAP = 10


@dataclass(frozen=True, slots=True)
class Interrupted(Storage):
    """A folder on which something else happens just before a segment is written."""

    before: Any = None

    def create(self, name: str, data: bytes) -> None:
        self.before()
        Storage.create(self, name, data)


def ledger(
    folder: Storage, run: str | None = None, before: Callable[[], None] | None = None
) -> DurableLedger:
    log = folder.sub("ledger")
    if before is not None:
        log = Interrupted(log.uri, log.fs, log.root, before)
    return DurableLedger(log, ResponseStore(folder.sub("responses")), Caps(calls=CAP), (), run)


def ask(log: DurableLedger, *names: str) -> tuple[str, ...]:
    """The calls that are granted."""
    return log.reserve([Reserve(name, "rationale", 1, "sums") for name in names])[0].granted


def calls(folder: Storage) -> int:
    return int(ledger(folder).summary()["total"]["calls"])


def test_a_run_that_lost_its_ledger_gets_no_further_grant(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    first, second = ledger(folder), ledger(folder)
    assert ask(first, "a", "b") == ("a", "b")
    assert ask(second, "c") == ("c",)
    for _ in range(2):  # and it does not come back by reading the log again
        with pytest.raises(UserError, match=TAKEN):
            ask(first, "d")
    with pytest.raises(UserError, match=TAKEN):
        first.summary()
    assert ask(second, "e") == ("e",)
    assert calls(folder) == 4


@settings(max_examples=25, deadline=None)
@given(writes=st.lists(st.integers(0, 2), min_size=1, max_size=5), window=st.integers(1, 4))
def test_two_runs_never_get_more_than_the_cap(
    writes: list[int], window: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first run goes on just before any of the writes of the second."""
    folder = Storage.open(tmp_path_factory.mktemp("run"))
    first, granted = ledger(folder), list[str]()

    def first_goes_on() -> None:
        for _ in range(writes.pop() if writes else 0):
            try:
                names = [f"first {len(granted)} {i}" for i in range(window)]
                granted.extend(ask(first, *names))
            except UserError as error:
                assert TAKEN in str(error)  # noqa: PT017

    first.summary()  # it begins
    first_goes_on()
    second = ledger(folder, before=first_goes_on)
    for turn in range(CAP):
        granted += ask(second, *(f"second {turn} {i}" for i in range(window)))
    assert len(granted) == len(set(granted)) == CAP
    assert calls(folder) == CAP


def test_ray_may_start_the_actor_anew_but_not_for_a_run_that_lost_its_folder(
    tmp_path: Path,
) -> None:
    folder = Storage.open(tmp_path)
    thought_dead, restarted = ledger(folder, "one"), ledger(folder, "one")
    ask(thought_dead, "a")
    assert ask(restarted, "b") == ("b",)
    with pytest.raises(UserError, match=TAKEN):
        ask(thought_dead, "c")
    ask(ledger(folder, "two"), "d")
    with pytest.raises(UserError, match=TAKEN):
        ask(ledger(folder, "one"), "e")
    assert calls(folder) == 3


def test_segments_of_earlier_versions_count(tmp_path: Path) -> None:
    """They have their owner in the name, and no line of an owner."""
    folder = Storage.open(tmp_path)
    kind = '{"kind":"reserve","request_id":"%s","purpose":"rationale","stage":1,"domain":"d"}\n'
    for number in range(2):
        folder.write_text(f"ledger/0000000{number}-abcdef01.jsonl", kind % number)
    assert ask(ledger(folder), "new") == ("new",)
    assert folder.list("ledger") == [
        *("00000000-abcdef01.jsonl", "00000001-abcdef01.jsonl", "00000002.jsonl", "00000003.jsonl")
    ]
    assert calls(folder) == 3


def test_where_a_name_cannot_be_reserved_no_owner_overwrites_another(tmp_path: Path) -> None:
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    folder = Storage("test://x", fs, "run")
    first, second = ledger(folder), ledger(folder)
    ask(first, "a")
    ask(second, "b")
    ask(first, "c")
    names, entries = read_log(folder.sub("ledger"))
    assert all(len(name) == len("00000000-abcdef01.jsonl") for name in names)
    asked = [entry.request_id for entry in entries if isinstance(entry, Reserve)]
    assert sorted(asked) == ["a", "b", "c"]
