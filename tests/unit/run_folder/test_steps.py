"""Steps are done once, and again when anything that they depend on changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baldistill.run_folder.steps import Step, commit
from baldistill.storage import Storage


class Work:
    """Counts how often it is done; fails when told to."""

    def __init__(self) -> None:
        self.times = 0
        self.fail = False

    def __call__(self) -> dict[str, Any]:
        self.times += 1
        if self.fail:
            raise OSError("the disk is full")
        return {"times": self.times}


def test_a_committed_step_is_skipped(tmp_path: Path) -> None:
    storage, work = Storage.open(tmp_path), Work()
    first = commit(storage, "a/b", inputs=(), options={"seed": 0}, make=work)
    again = commit(storage, "a/b", inputs=(), options={"seed": 0}, make=work)
    assert (work.times, first) == (1, again)


@pytest.mark.parametrize("change", ["options", "inputs", "name"])
def test_a_changed_step_is_done_again(tmp_path: Path, change: str) -> None:
    storage, work = Storage.open(tmp_path), Work()
    base = Step("key", {}, 0.0)
    commit(storage, "a", inputs=(base,), options={"seed": 0}, make=work)
    commit(
        storage,
        "b" if change == "name" else "a",
        inputs=(Step("other", {}, 0.0),) if change == "inputs" else (base,),
        options={"seed": 1 if change == "options" else 0},
        make=work,
    )
    assert work.times == 2


def test_a_step_that_failed_is_not_committed(tmp_path: Path) -> None:
    storage, work = Storage.open(tmp_path), Work()
    work.fail = True
    with pytest.raises(OSError, match="disk"):
        commit(storage, "a", inputs=(), options={}, make=work)
    work.fail = False
    assert commit(storage, "a", inputs=(), options={}, make=work).figures == {"times": 2}
