"""Requests that engines had in flight when they died."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from baldistill.answers.journal import Journal
from baldistill.answers.store import ResponseStore
from baldistill.generation.types import Request
from baldistill.storage import Storage
from baldistill.teacher.unfinished import ENGINE_DIED, UnfinishedCalls

REQUEST = Request("wanted", "prompt", call="call-1")


def unfinished(folder: Path, *, notes_calls: bool) -> UnfinishedCalls:
    teacher = SimpleNamespace(
        store=ResponseStore(Storage.open(folder)),
        pool=SimpleNamespace(notes_calls=notes_calls),
        config=SimpleNamespace(finds_again=False),
    )
    return UnfinishedCalls(cast(Any, teacher))


@pytest.mark.parametrize(("notes_calls", "most"), [(True, 10), (False, 4)])
def test_a_request_is_asked_again_until_too_many_engines_died(
    tmp_path: Path, notes_calls: bool, most: int
) -> None:
    journal = Journal(str(tmp_path))
    journal.note(REQUEST.request_id, REQUEST.call)
    journal.sync()
    calls = unfinished(tmp_path, notes_calls=notes_calls)
    for death in range(1, most + 1):
        (failed,) = calls.of_dead_engine([REQUEST])
        assert failed is not None
        assert failed.error == ENGINE_DIED
        assert failed.retriable == (death < most)
    journal.close()


def test_what_was_not_sent_is_no_failure(tmp_path: Path) -> None:
    calls = unfinished(tmp_path, notes_calls=True)
    for _ in range(20):
        assert calls.of_dead_engine([REQUEST]) == [None]
