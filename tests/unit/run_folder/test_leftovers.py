"""What killed writers left behind goes when a run begins; nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

from baldistill.local_disk import temporary_beside
from baldistill.run_folder import layout
from baldistill.run_folder.leftovers import remove_leftovers
from baldistill.storage import Storage


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_temporaries_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "run")
    kept = {"config.yaml", "stages/01/selected.parquet", f"{layout.RESPONSES}/a.parquet", ".lock"}
    kept |= {".notes.tmp", "stages/01/student/model.safetensors"}  # no name that `Storage` gives
    for name in kept:
        storage.write_text(name, "")
    for name in ("config.yaml", "stages/01/selected.parquet"):
        temporary_beside(tmp_path / "run" / name).write_text("half")
    folder = temporary_beside(tmp_path / "run" / "stages" / "01" / "student")
    folder.mkdir()
    (folder / "model.safetensors").write_text("half")
    remove_leftovers(storage)
    assert names(tmp_path / "run") == kept


def test_another_run_may_be_writing_into_the_store_that_it_shares(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    new, old = (
        temporary_beside(tmp_path / f"{layout.RESPONSES}/{name}") for name in ("new", "old")
    )
    new.parent.mkdir()
    for path in (new, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    remove_leftovers(storage)
    assert names(tmp_path) == {str(new.relative_to(tmp_path))}


def test_a_link_of_such_a_name_loses_only_itself(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "theirs").write_text("")
    (tmp_path / "run").mkdir()
    temporary_beside(tmp_path / "run" / "a").symlink_to(tmp_path / "elsewhere")
    remove_leftovers(Storage.open(tmp_path / "run"))
    assert names(tmp_path) == {"elsewhere/theirs"}
