"""`log.txt` on stores whose objects cannot be added to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import ANY_TEXT

from baldistill.run_folder import log as log_module
from baldistill.run_folder.log import RunLog
from baldistill.storage import Storage
from baldistill.visible import visible


def folders(tmp_path: Path) -> list[Storage]:
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    (tmp_path / "disk").mkdir()
    return [Storage.open(tmp_path / "disk"), Storage("test://store", fs, "store")]


def test_a_resumed_run_goes_on_with_the_same_log(tmp_path: Path) -> None:
    for storage in folders(tmp_path):
        for text in ("first", "second"):
            with RunLog(storage) as log:
                log.write(text)
                log.write("a table\nof two lines")
        lines = storage.read_text("log.txt").splitlines()
        words = [line.split()[-1] for line in lines]
        assert words == ["first", "table", "lines", "second", "table", "lines"]


def test_lines_are_saved_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_SAVE_EVERY", 0.01)
    storage = folders(tmp_path)[1]
    with RunLog(storage) as log:
        for text in ("first", "second"):
            log.write(text)
            while not (storage.exists("log.txt") and text in storage.read_text("log.txt")):
                pass


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=4))
def test_each_message_is_one_event_whatever_its_text(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, RunLog(Storage.open(folder)) as log:
        for text in texts:
            log.write(text)
        lines = (Path(folder) / "log.txt").read_bytes().decode("utf-8").splitlines()
    assert sum(not line.startswith("    ") for line in lines) == len(texts)
    assert all(visible(line) == line for line in lines)
