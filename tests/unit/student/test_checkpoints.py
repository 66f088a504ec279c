"""A training that was killed goes on from its last checkpoint, and ends as if undisturbed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from safetensors.torch import load_file

from baldistill.bundled import DOMAINS, make_example, model_dir
from baldistill.config import StudentConfig
from baldistill.config.student import CheckpointConfig, LoraConfig
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage
from baldistill.student import snapshot
from baldistill.student.checkpoints import Checkpoints
from baldistill.student.encode import Lesson
from baldistill.student.train import train
from baldistill.student.training import Progress, TrainingResult

STUDENT = str(model_dir("student"))
FOLDER = StageLayout(1).checkpoint
RNG = random.Random(0)
MADE = [make_example(RNG.choice(DOMAINS), RNG) for _ in range(20)]
STEPS = 15  # 3 epochs of 5 steps
BASE: dict[str, Any] = {"learning_rate": 1e-3, "epochs": 3, "batch_size": 4}
ADAPTER = {"lora": LoraConfig(rank=4, dropout=0.3), "learning_rate": 1e-2}  # dropout is random


class Killed(BaseException):
    """Ends a training as a signal does, with nothing after it."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run(
    folder: Path,
    name: str = "student",
    *,
    kill_after: int | None = None,
    told: list[Progress] | None = None,
    **values: Any,
) -> TrainingResult:
    """Train, from the last checkpoint in the folder if there is one."""
    checkpoints = Checkpoints(Storage.open(folder), 1, "key")
    config = StudentConfig(**{**BASE, **values})

    def report(progress: Progress) -> None:
        if told is not None:
            told.append(progress)
        if kill_after is not None and progress.step == kill_after and not progress.status:
            raise Killed

    found = checkpoints.latest()
    return train(
        [
            Lesson(f"Question: {made.question}\n", f"{made.rationale}\nAnswer: {made.answer}")
            for made in MADE
        ],
        init=STUDENT, output=folder / name, config=config, seed=5, on_progress=report,
        checkpoints=checkpoints, resume=found and Path(found.storage.path(found.name)),
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("values", "kills"),
    [
        (ADAPTER, [8, 14]),  # within an epoch, and twice
        (ADAPTER, [11]),  # just behind the end of an epoch, at which a checkpoint was written
        ({"gradient_accumulation": 2, "batch_size": 2, "optimizer": "adafactor"}, [9]),
        ({"trainer": {"logging_steps": 4}}, [8]),  # losses are not yet reported at a checkpoint
    ],
)
def test_a_training_that_goes_on_ends_as_an_undisturbed_one(
    tmp_path: Path, values: dict[str, Any], kills: list[int]
) -> None:
    every = 5 if kills == [11] else 3
    checkpoint = CheckpointConfig(every_steps=every)
    undisturbed = run(tmp_path / "a", checkpoint=None, **values)
    assert undisturbed.num_steps == STEPS
    for step in kills:
        with pytest.raises(Killed):
            run(tmp_path / "b", kill_after=step, checkpoint=checkpoint, **values)
        found = Checkpoints(Storage.open(tmp_path / "b"), 1, "key").latest()
        assert found is not None
        assert found.step == (step - 1) // every * every
    again = run(tmp_path / "b", checkpoint=checkpoint, **values)
    assert again == undisturbed
    assert same(weights(tmp_path / "b/student"), weights(tmp_path / "a/student"))


def test_a_checkpoint_is_written_by_the_clock_and_replaces_the_one_before(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, kill_after=6, checkpoint=CheckpointConfig(every_minutes=1e-9))
    storage = Storage.open(tmp_path)
    found = Checkpoints(storage, 1, "key").latest()
    assert found is not None
    folders = {name.split("/")[3] for name in storage.files(FOLDER)}
    assert folders == {"latest.json", found.name.split("/")[-1]}
    kinds = {name.rpartition(".")[2] for name in storage.files(FOLDER)}
    assert kinds == {"json", "safetensors"}, "nothing is pickled"


def test_a_short_training_writes_none(tmp_path: Path) -> None:
    run(tmp_path)
    assert Storage.open(tmp_path).files(FOLDER) == []


@pytest.mark.parametrize("place", [FOLDER, f"{FOLDER}/latest.json/x"])
def test_a_training_goes_on_where_no_checkpoint_can_be_written(tmp_path: Path, place: str) -> None:
    """A file or a folder stands in the place of what would be written."""
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    told: list[Progress] = []
    checkpoint = CheckpointConfig(every_steps=10)
    result = run(tmp_path, told=told, checkpoint=checkpoint)
    assert result == run(tmp_path / "undisturbed", checkpoint=None)
    (said,) = [progress for progress in told if "cannot write" in progress.status]
    assert (said.step, said.total_steps) == (10, STEPS)
    left = [path for path in (tmp_path / "stages").rglob("*") if path.is_file()]
    assert left == [tmp_path / place], "what was begun is deleted"


def test_what_a_folder_does_not_take_is_gathered_all_the_same(tmp_path: Path) -> None:
    """Other workers would wait for a worker that stopped."""
    seen: list[int] = []

    class Shared(torch.Tensor):
        def full_tensor(self) -> torch.Tensor:
            seen.append(len(seen))
            return torch.zeros(4)

    tree = {"weights": [torch.zeros(4).as_subclass(Shared) for _ in range(5)]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "_BYTES", 1)
        with pytest.raises(OSError, match="No such file"):
            snapshot.write(tree, tmp_path / "missing")
    assert len(seen) == 5


def checkpoint(folder: Path, key: str = "key") -> Checkpoints:
    checkpoints = Checkpoints(Storage.open(folder), 1, key)
    with checkpoints.adding(7) as made:
        snapshot.write({"weights": {"a": torch.arange(10)}}, made)
    return checkpoints


def test_no_other_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    rows = pa.table({"question": ["a", "b"]})
    step = Checkpoints(Storage.open(tmp_path), 1, "step")
    with step.of(rows, 2).adding(1):
        pass
    assert step.of(pa.table({"question": ["a", "b"]}), 2).latest() is not None
    assert step.of(rows, 1).latest() is None
    assert step.of(rows.slice(1), 2).latest() is None
    assert Checkpoints(Storage.open(tmp_path), 1, "other").of(rows, 2).latest() is None
    assert Checkpoints(Storage.open(tmp_path), 2, "step").of(rows, 2).latest() is None
    assert step.of(rows, 0).key == step.of(rows, 1).key, "the driver trains as one worker does"


@pytest.mark.parametrize("name", ["state.json", "tensors-00000.safetensors", "latest.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_a_damaged_checkpoint_is_not_used(tmp_path: Path, name: str, damage: str) -> None:
    checkpoints = checkpoint(tmp_path)
    assert checkpoints.latest() is not None
    (path,) = (tmp_path / FOLDER).rglob(name)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "cut" else b"\0" + content[1:])
    assert checkpoints.latest() is None


def test_an_object_store_holds_them_too(tmp_path: Path) -> None:
    """A filesystem that is no `LocalFileSystem`, to which whole folders are uploaded."""
    (tmp_path / "run").mkdir()
    remote = Storage("mock://run", SubTreeFileSystem(str(tmp_path), LocalFileSystem()), "run")
    checkpoints = Checkpoints(remote, 1, "key")
    for step in (1, 2):
        with checkpoints.adding(step) as folder:
            snapshot.write({"weights": {"a": torch.tensor([step])}}, folder)
    found = checkpoints.latest()
    assert found is not None
    with found.local() as folder:
        assert snapshot.Snapshot(folder)["weights"] == {"a": torch.tensor([2])}
    assert {name.split("/")[3] for name in remote.files(FOLDER)} == {
        "latest.json", found.name.split("/")[-1]
    }  # fmt: skip


def test_a_checkpoint_that_was_not_finished_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoints = checkpoint(tmp_path)
    before = checkpoints.latest()

    def begin() -> None:
        with checkpoints.adding(9) as folder:
            snapshot.write({"weights": {}}, folder)
            raise Killed

    with pytest.raises(Killed):
        begin()
    assert checkpoints.latest() == before


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TENSORS = st.sampled_from(
    [
        torch.arange(6).reshape(2, 3)[:, 1],
        torch.tensor(1.5, dtype=torch.bfloat16),
        torch.zeros(0, dtype=torch.uint8),
    ]
)
TREES = st.recursive(
    SCALARS | TENSORS,
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.lists(parts, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), parts, max_size=3)
    ),
    max_leaves=8,
)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        return type(one) is type(other) and all(equal(a, b) for a, b in pairs)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


@given(tree=st.dictionaries(st.text(), TREES, max_size=3), size=st.sampled_from([1, 2**31]))
def test_a_tree_is_read_as_it_was_written(
    tree: dict[str, Any], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "_BYTES", size)
        snapshot.write(tree, folder)
    read = snapshot.Snapshot(folder)
    assert all(equal(read[key], value) for key, value in tree.items())


def test_what_is_no_plain_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a Killed is neither a tensor nor a JSON value"):
        snapshot.write({"a": [Killed()]}, tmp_path)
