"""Calls are noted before they are sent; a run that has lost its store notes them and sends none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import fsspec
import pyarrow.fs as pafs
import pytest

from baldistill.answers.store import ResponseStore
from baldistill.errors import UserError
from baldistill.generation.openai.notes import Notes
from baldistill.generation.types import Request
from baldistill.run_folder.lock import hold_of, only_run_in
from baldistill.storage import Storage


@pytest.mark.parametrize("writes_again", [False, True])
def test_a_run_whose_store_was_taken_sends_nothing(tmp_path: Path, writes_again: bool) -> None:
    """It may have written its sign of life again after the other one removed it."""
    fs = pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem("memory")))
    storage = Storage(f"test://{tmp_path.name}", fs, f"/{tmp_path.name}")
    with only_run_in(storage, beat=600.0):
        hold = hold_of(storage)
        assert hold is not None
        notes = Notes(storage, hold)

        async def lose_the_store() -> None:
            await notes.add([Request("a", "A", call="1")])
            if not writes_again:
                storage.delete(f"_lock/{hold.name}")
            storage.write_text("_lock/0.json", json.dumps({"state": "holds", "took": [hold.name]}))
            with pytest.raises(UserError, match="another run took over"):
                await notes.add([Request("b", "B", call="2")])

        asyncio.run(lose_the_store())
    assert ResponseStore(storage).sent() == {("a", "1"), ("b", "2")}


def test_a_store_on_a_disk_needs_no_look(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    with only_run_in(storage):
        assert hold_of(storage) is None
