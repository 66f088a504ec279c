"""What is read from the folder of a run of this version, of another, and of none."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.config.loading import load_config
from baldistill.errors import UserError
from baldistill.run_folder import layout
from baldistill.run_folder.identity import adopt_run
from baldistill.run_folder.reader import corpus_counts, read_run
from baldistill.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A run folder in which nothing is committed."""
    storage = Storage.open(tmp_path)
    adopt_run(storage, load_config(), "answers")
    return storage


def test_a_run_that_has_just_begun_has_no_figures(storage: Storage) -> None:
    run = read_run(storage.uri)
    assert (run.corpus, run.stages, run.finished) == ({}, (), False)
    assert corpus_counts(storage) == {}


@pytest.mark.parametrize("marker", ['{"key": "k"}', '{"figures": 1, "seconds": 2}', "[]", "{"])
def test_a_marker_of_another_version_says_what_to_do(storage: Storage, marker: str) -> None:
    storage.write_text(layout.marker(layout.CORPUS_STEP), marker)
    with pytest.raises(UserError, match="another version of baldistill") as raised:
        read_run(storage.uri)
    assert storage.uri_of(layout.marker(layout.CORPUS_STEP)) in str(raised.value)
    assert f"--store {storage.uri}/responses" in str(raised.value)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        read_run(tmp_path)
