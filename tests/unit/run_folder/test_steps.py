"""Steps are done once, and again when anything that they depend on changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from baldistill.core.budget import Asked, TailQuota
from baldistill.errors import UserError
from baldistill.method.plan import StagePlan, StudentErrors
from baldistill.run_folder.steps import Chain, is_committed
from baldistill.storage import Storage
from baldistill.student.training import TrainingResult


@dataclass(frozen=True)
class Done:
    """The result of `Work`."""

    times: int


class Work:
    """Counts how often it is done; fails when told to."""

    def __init__(self) -> None:
        self.times = 0
        self.fail = False

    def __call__(self) -> Done:
        self.times += 1
        if self.fail:
            raise OSError("the disk is full")
        return Done(self.times)


def test_an_empty_marker_counts_as_none(tmp_path: Path) -> None:
    storage, work = Storage.open(tmp_path), Work()
    chain = Chain(storage, "stages/01")
    chain.step("selected", {}, work, Done)
    storage.write_bytes("_commits/stages/01/selected.json", b"")
    assert not is_committed(storage, "stages/01/selected")
    assert Chain(storage, "stages/01").step("selected", {}, work, Done) == Done(2)
    assert is_committed(storage, "stages/01/selected")


def test_a_committed_step_is_skipped(tmp_path: Path) -> None:
    storage, work = Storage.open(tmp_path), Work()
    assert not is_committed(storage, "a/b")
    first, again = Chain(storage, "a"), Chain(storage).branch("a")
    results = [chain.step("b", {"seed": 0}, work, Done) for chain in (first, again)]
    assert results == [Done(1), Done(1)]
    assert (first.key, first.seconds) == (again.key, again.seconds)
    assert is_committed(storage, "a/b")


@pytest.mark.parametrize("change", ["options", "step before", "name", "folder"])
def test_a_changed_step_is_done_again(tmp_path: Path, change: str) -> None:
    work = Work()
    chain = Chain(Storage.open(tmp_path), "a", key="before")
    replace(chain).step("b", {"seed": 0}, work, Done)
    if change == "step before":
        chain = replace(chain, key="another")
    if change == "folder":
        chain = chain.branch("c")
    name = "c" if change == "name" else "b"
    chain.step(name, {"seed": 1 if change == "options" else 0}, work, Done)
    assert work.times == 2


def test_a_step_that_is_done_again_does_those_behind_it_again(tmp_path: Path) -> None:
    storage, work = Storage.open(tmp_path), Work()
    for seed in (0, 0, 1, 1):
        chain = Chain(storage)
        chain.step("first", {"seed": seed}, work, Done)
        chain.step("second", {}, work, Done)
    assert work.times == 4


def test_a_step_that_failed_is_not_committed(tmp_path: Path) -> None:
    storage, work = Storage.open(tmp_path), Work()
    work.fail = True
    with pytest.raises(OSError, match="disk"):
        Chain(storage).step("a", {}, work, Done)
    work.fail = False
    assert Chain(storage).step("a", {}, work, Done) == Done(2)


@pytest.mark.parametrize(
    "result",
    [
        StudentErrors({"a": Asked(5, 2)}),
        StagePlan(1, 9, {"a": 2, "b": 7}, {"a": 8, "b": 3}, {"a": 2}, {"b": TailQuota(3, 4)}),
        TrainingResult(7, 40, 0.5, ((20, 1.5), (40, 0.5)), 0, 1),
    ],
    ids=lambda result: type(result).__name__,
)
def test_a_result_is_read_as_it_was_made(
    tmp_path: Path, result: StudentErrors | StagePlan | TrainingResult
) -> None:
    storage = Storage.open(tmp_path)
    for _ in range(2):
        assert Chain(storage).step("a", {}, lambda: result, type(result)) == result


@dataclass(frozen=True)
class DoneNow:
    """What `Done` became in a later version."""

    times: int
    worst: float | None = None


def test_a_figure_that_an_earlier_version_did_not_have_has_its_default(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    Chain(storage).step("a", {}, lambda: Done(3), Done)
    again = Chain(storage).step("a", {}, lambda: DoneNow(4), DoneNow)
    assert again == DoneNow(3, None)
    assert Chain(storage).step("b", {}, lambda: DoneNow(4, 0.5), DoneNow) == DoneNow(4, 0.5)
    assert Chain(storage).step("b", {}, lambda: DoneNow(5), DoneNow) == DoneNow(4, 0.5)


@pytest.mark.parametrize(
    ("figures", "differing"),
    [({}, "times"), ({"times": 1, "seconds": 2}, "seconds"), ({"times": "many"}, "times")],
)
def test_a_folder_of_another_version_cannot_go_on(
    tmp_path: Path, figures: dict[str, object], differing: str
) -> None:
    storage = Storage.open(tmp_path)
    Chain(storage).step("a", {}, Work(), Done)
    marker = storage.read_json("_commits/a.json")
    del marker["crc32"]
    storage.write_json("_commits/a.json", marker | {"figures": figures})
    with pytest.raises(
        UserError, match=rf"by another version of baldistill \(see {differing}\)"
    ) as raised:
        Chain(storage).step("a", {}, Work(), Done)
    assert "use another --run-dir, with --store" in str(raised.value)
    assert storage.uri_of("responses") in str(raised.value)


def test_a_step_that_was_cut_short_is_completed_in_its_place(tmp_path: Path) -> None:
    storage, work, later = Storage.open(tmp_path), Work(), Work()

    def chain(is_short: bool) -> Done:
        steps = Chain(storage, "a")
        done = steps.step("b", {"seed": 0}, work, Done, again=lambda result: is_short)
        steps.step("c", {}, later, Done)
        return done

    assert chain(False) == chain(False) == Done(1)
    assert chain(True) == chain(False) == Done(2)
    assert later.times == 1, "no step behind it is done again"
