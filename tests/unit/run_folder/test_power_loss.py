"""After a loss of power at any moment a step has no marker, or a marker and all its files whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from power_loss import Disk, State, materialize

from baldistill.config import DataConfig
from baldistill.data.duplicates import join_repeated, repeated_keys
from baldistill.data.read_unit import ReadPlan, read_unit
from baldistill.data.sources import find_files
from baldistill.data.split import CandidateMerge, EvaluationSet, part_candidates
from baldistill.data.units import Segment
from baldistill.data.validate import TRAIN
from baldistill.data.write_corpus import write_part
from baldistill.run_folder import layout
from baldistill.run_folder.integrity import check_steps
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the model asks Linux which file is synced"
)
STAGE = StageLayout(1)
WRITES = {
    layout.CORPUS_STEP: layout.CORPUS,
    STAGE.step("scored"): (STAGE.scored,),
    STAGE.step("annotated"): STAGE.annotation,
    STAGE.step("student"): (STAGE.student,),
}


@dataclass(frozen=True)
class Rows:
    """The figures of each step here."""

    rows: int


def corpus(storage: Storage, source: Path) -> Rows:
    """Write the corpus with the functions of its passes, which otherwise Ray's workers call."""
    folders = [*layout.CORPUS, f"{layout.STAGING}/rows", f"{layout.STAGING}/keys"]
    for name in (*folders, layout.STAGING):
        storage.delete(name)
    for name in folders:
        storage.fs.create_dir(storage.path(name), recursive=True)
    files = find_files([str(source)], "train", "auto")
    plan = ReadPlan(
        dict(enumerate(files)), [[Segment(f.index, f.size) for f in files]], DataConfig()
    )
    (part,) = read_unit(plan, storage, 0)
    duplicates = join_repeated(repeated_keys(storage, [part.name], None))
    merge = CandidateMerge(2)
    merge.add(part_candidates(storage, part.name, duplicates, TRAIN, 0, 2))
    chosen = EvaluationSet.of(merge.top({"d": 2}))
    names = {file.index: file.shown for file in files}
    written = write_part(storage, part.name, names, duplicates, chosen)
    storage.delete(layout.STAGING)
    return Rows(sum(written.train.values()))


def scored(storage: Storage, seed: int) -> Rows:
    """Write scores: one file by the driver, one as a task of Ray Data writes its own."""
    storage.delete(STAGE.scored)
    table = pa.table({"example_id": [f"{seed}-{i}" for i in range(5)]})
    storage.write_table(f"{STAGE.scored}/by-hash.parquet", table)
    path = storage.path(f"{STAGE.scored}/{seed}_000000.parquet")
    with storage.fs.open_output_stream(path) as stream:
        pq.write_table(table, stream)
    return Rows(2 * len(table))


def annotated(storage: Storage, seed: int) -> Rows:
    table = pa.table({"rationale": [f"because {seed}"] * 3})
    for name in STAGE.annotation:
        if name.endswith(".json"):
            storage.write_json(name, {"seed": seed})
        else:
            storage.write_table(name, table)
    return Rows(len(table))


def student(storage: Storage, scratch: Path, seed: int) -> Rows:
    weights = scratch / f"student-{seed}"
    (weights / "adapter").mkdir(parents=True, exist_ok=True)
    (weights / "model.safetensors").write_bytes(bytes([seed]) * 1000)
    (weights / "adapter" / "config.json").write_text("{}")
    storage.upload_dir(weights, STAGE.student)
    return Rows(seed)


def run(folder: Path, scratch: Path, seed: int) -> list[Rows]:
    """Do the steps of a small run, as a start or a resume of it would."""
    storage = Storage.open(folder)
    check_steps(storage)
    source = scratch / f"{seed}.jsonl"
    rows = [{"question": f"q{i}", "answer": f"{i}", "domain": "d"} for i in range(8 + seed)]
    source.write_text("\n".join(map(json.dumps, [*rows, rows[0], {"question": "bad"}])))  # type: ignore[arg-type]
    work: dict[str, Callable[[], Rows]] = {
        layout.CORPUS_STEP: lambda: corpus(storage, source),
        STAGE.step("scored"): lambda: scored(storage, seed),
        STAGE.step("annotated"): lambda: annotated(storage, seed),
        STAGE.step("student"): lambda: student(storage, scratch, seed),
    }
    chain = Chain(storage)
    return [
        chain.step(name, {"seed": seed}, make, Rows, WRITES[name]) for name, make in work.items()
    ]


def of_step(state: State, step: str) -> State:
    names = WRITES[step]
    return frozenset(
        (file, content)
        for file, content in state
        if any(file == name or file.startswith(f"{name}/") for name in names)
        and not file.rpartition("/")[2].startswith(".")
    )


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Disk]]:
    """A run in a new folder, and one with another seed in the folder of a finished run."""
    folder = tmp_path_factory.mktemp("power")
    disks = []
    for seed in (0, 1):
        disk = Disk(folder)
        with disk.recording():
            run(folder / "run", tmp_path_factory.mktemp("scratch"), seed)
        disks.append(disk)
    return folder, disks


def test_a_marker_vouches_only_for_what_is_on_the_disk(crashes: tuple[Path, list[Disk]]) -> None:
    _, disks = crashes
    vouched = {}  # the content of a marker -> the files that it was written after
    num_states = 0
    for disk in disks:
        for moment in disk.moments:
            live = dict(moment.live)
            for step in WRITES:
                marker = live.get(f"run/{layout.marker(step)}")
                if marker is not None and marker not in vouched:
                    vouched[marker] = of_step(under_run(moment.live), step)
                    assert vouched[marker]
        for moment in disk.moments:
            for state in moment.left:
                num_states += 1
                files = dict(state)
                for step in WRITES:
                    if marker := files.get(f"run/{layout.marker(step)}"):
                        missing = vouched[marker] - of_step(under_run(state), step)
                        assert not missing, (step, sorted(name for name, _ in missing))
    assert len(vouched) == 2 * len(WRITES)
    assert num_states > 500


def test_the_next_start_works_after_a_loss_of_power_at_any_moment(
    crashes: tuple[Path, list[Disk]], tmp_path: Path
) -> None:
    folder, disks = crashes
    expected = [run(folder / "run", tmp_path, 1), Storage.open(folder / "run")]
    for seed, disk in enumerate(disks):
        states = {under_run(state) for moment in disk.moments for state in moment.left}
        for number, state in enumerate(sorted(states, key=sorted)):
            again = materialize(state, tmp_path / f"{seed}-{number}")
            assert run(again, tmp_path, 1) == expected[0]
            check_steps(Storage.open(again))
    assert len(states) > 20


def under_run(state: State) -> State:
    return frozenset((name[4:], content) for name, content in state if name.startswith("run/"))
