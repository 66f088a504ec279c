"""Files that are no longer as they were committed are named before anything relies on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from baldistill.cli import app
from baldistill.commands.repair import repair
from baldistill.errors import UserError
from baldistill.run_folder import artifacts, layout
from baldistill.run_folder.integrity import (
    check_steps,
    committed_steps,
    step_damage,
    steps_made_from,
)
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage

FIRST, SECOND = StageLayout(1), StageLayout(2)
TABLE = f"{layout.TRAIN}/1.parquet"
WEIGHTS = f"{FIRST.student}/model.safetensors"
STEPS = [
    layout.CORPUS_STEP,
    StageLayout(0).step("metrics"),
    FIRST.step("annotated"),
    FIRST.step("student"),
    FIRST.step("metrics"),
    SECOND.step("annotated"),
]


@dataclass(frozen=True)
class Nothing:
    """The result of a step here."""


def write_run(storage: Storage) -> None:
    """Do the steps of a run that are not committed."""
    names = {
        STEPS[0]: [layout.TRAIN],
        STEPS[1]: [StageLayout(0).responses],
        STEPS[2]: [FIRST.annotated, FIRST.dropped],
        STEPS[3]: [FIRST.student],
        STEPS[4]: [FIRST.responses],
        STEPS[5]: [SECOND.annotated],
    }

    def write(step: str) -> Nothing:
        rows = pa.table({"rationale": [f"{step} {i}" for i in range(20)]})
        for name in names[step]:
            if name == layout.TRAIN:
                for number in (1, 2):
                    storage.write_table(f"{name}/{number}.parquet", rows)
            elif name == FIRST.student:
                storage.write_bytes(WEIGHTS, bytes(artifacts._SMALL + 1))
            elif name.endswith(".json"):
                storage.write_json(name, {})
            else:
                storage.write_table(name, rows)
        return Nothing()

    chain = Chain(storage)
    for step in STEPS:
        chain.step(step, {}, lambda step=step: write(step), Nothing, names[step])  # type: ignore[misc]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "run"
    write_run(Storage.open(folder))
    (folder / layout.CONFIG).write_text("stages: 2\n")
    (folder / layout.METRICS).write_text("{}")
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of a sound run folder."""
    return Path(shutil.copytree(sound, tmp_path / "run"))


def one_row_gone(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


def one_byte_changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def one_figure_changed(path: Path) -> None:
    path.write_text(path.read_text().replace('"rows": 20', '"rows": 21'))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    (TABLE, Path.unlink, r"is missing: \d+ bytes \(20 rows\) were committed"),
    (layout.TRAIN, shutil.rmtree, "is missing"),
    (TABLE, cut, r"has \d+ bytes, and \d+ bytes \(20 rows\) were committed"),
    (TABLE, emptied, r"has 0 bytes, and \d+ bytes \(20 rows\)"),
    (TABLE, one_byte_changed, "has another content than was committed: its CRC-32 is"),
    (FIRST.annotated, one_row_gone, r"has \d+ bytes \(19 rows\), and \d+ bytes \(20 rows\)"),
    (FIRST.dropped, cut, "has "),
    (WEIGHTS, cut, "has 4,194,298 bytes, and 4,194,305 bytes were committed"),
    (WEIGHTS, Path.unlink, "is missing"),
    (layout.marker(STEPS[2]), cut, "is damaged: it is no JSON object"),
    (layout.marker(STEPS[2]), one_figure_changed, "is damaged: its checksum does not match"),
]


@pytest.mark.parametrize(("name", "damage", "problem"), DAMAGES)
def test_damage_is_named_with_the_ways_out(
    folder: Path, name: str, damage: Callable[[Path], None], problem: str
) -> None:
    damage(folder / name)
    storage = Storage.open(folder)
    with pytest.raises(UserError, match=problem) as raised:
        check_steps(storage)
    message = str(raised.value)
    assert str(folder / name) in message
    assert f"baldistill repair {folder}" in message
    assert f"--store {folder}/responses" in message


def test_a_marker_records_what_its_step_has_written_and_no_more(folder: Path) -> None:
    storage = Storage.open(folder)
    recorded = [storage.read_json(layout.marker(step))[artifacts.FILES] for step in STEPS]
    assert [list(files) for files in recorded] == [
        [TABLE, f"{layout.TRAIN}/2.parquet"],
        [StageLayout(0).responses],
        [FIRST.annotated, FIRST.dropped],
        [WEIGHTS],
        [FIRST.responses],
        [SECOND.annotated],
    ]


def test_a_sound_run_folder_is_sound(folder: Path) -> None:
    assert step_damage(Storage.open(folder), thorough=True) == []
    assert committed_steps(Storage.open(folder)) == STEPS
    assert CliRunner().invoke(app, ["repair", str(folder)]).exit_code == 0


def test_a_changed_byte_of_large_weights_is_noticed_by_repair(folder: Path) -> None:
    one_byte_changed(folder / WEIGHTS)
    check_steps(Storage.open(folder))  # a resume does not read gigabytes
    assert [damage.file for damage in repair(folder).damage] == [str(folder / WEIGHTS)]


def test_what_a_user_adds_does_not_matter(folder: Path) -> None:
    for name in ("README.md", "corpus/train/README.md", "corpus/.DS_Store", "stages/01/a.parquet"):
        (folder / name).write_text("mine")
    (folder / FIRST.student / "notes.txt").write_text("mine")
    storage = Storage.open(folder)
    assert step_damage(storage, thorough=True) == []
    assert len(storage.read_table(layout.TRAIN)) == 40


def test_a_table_that_was_added_to_the_corpus_is_noticed(folder: Path) -> None:
    shutil.copy(folder / TABLE, folder / layout.TRAIN / "1 (copy).parquet")
    with pytest.raises(UserError, match=r"1 \(copy\).parquet was added later, and would be read"):
        check_steps(Storage.open(folder))


def test_reports_do_without_the_students(folder: Path) -> None:
    """Users remove the weights of earlier stages to save space."""
    shutil.rmtree(folder / FIRST.student)
    check_steps(Storage.open(folder), students=False)


def test_a_folder_that_was_moved_is_sound(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "elsewhere")
    assert step_damage(Storage.open(moved), thorough=True) == []


def test_markers_without_a_record_are_accepted(folder: Path) -> None:
    """As versions before 0.2 wrote them."""
    storage = Storage.open(folder)
    for step in STEPS:
        content = storage.read_json(layout.marker(step))
        kept = {key: content[key] for key in ("key", "figures", "seconds")}
        storage.write_json(layout.marker(step), kept)
    (folder / TABLE).unlink()
    assert step_damage(storage, thorough=True) == []
    shown = CliRunner().invoke(app, ["repair", str(folder)])
    assert shown.exit_code == 0
    assert f"damage to their files cannot be told: {', '.join(STEPS)}" in shown.output


@pytest.mark.parametrize(
    ("name", "again"),
    [
        (TABLE, STEPS),
        (FIRST.annotated, STEPS[2:]),
        (WEIGHTS, STEPS[3:]),
        (FIRST.responses, [STEPS[4]]),
        (StageLayout(0).responses, [STEPS[1]]),
        (layout.marker(STEPS[3]), STEPS[3:]),
    ],
)
def test_repair_gives_up_what_was_made_from_the_damaged_file_and_no_more(
    folder: Path, name: str, again: list[str]
) -> None:
    cut(folder / name)
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    shown = CliRunner().invoke(app, ["repair", str(folder)])
    assert shown.exit_code == 1
    assert str(folder / name) in shown.output
    assert f"{', '.join(again)} are done again" in shown.output
    assert "nothing is changed" in shown.output
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before

    assert CliRunner().invoke(app, ["repair", str(folder), "--accept-loss"]).exit_code == 0
    storage = Storage.open(folder)
    assert committed_steps(storage) == [step for step in STEPS if step not in again]
    assert not storage.exists(layout.METRICS), "a comparison would take the run for complete"
    check_steps(storage)
    write_run(storage)
    assert step_damage(storage, thorough=True) == []
    assert committed_steps(storage) == STEPS


def test_the_loss_of_several_files_is_told_once(folder: Path) -> None:
    for name in (SECOND.annotated, FIRST.annotated, FIRST.dropped):
        (folder / name).unlink()
    found = repair(folder)
    assert len(found.damage) == 3
    (loss,) = found.losses
    assert f"{', '.join(STEPS[2:])} are done again" in loss


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        repair(tmp_path)


def test_on_another_filesystem_the_same_is_noticed(folder: Path) -> None:
    fs = pafs.SubTreeFileSystem(str(folder.parent), pafs.LocalFileSystem())
    storage = Storage("test://bucket/run", fs, "run")
    shutil.rmtree(folder)
    write_run(storage)
    assert step_damage(storage, thorough=True) == []
    assert committed_steps(storage) == STEPS
    one_byte_changed(folder / TABLE)
    assert step_damage(storage) == [], "no content is fetched for a resume"
    assert [damage.file for damage in step_damage(storage, thorough=True)] == [
        f"test://bucket/run/{TABLE}"
    ]
    cut(folder / WEIGHTS)
    (folder / FIRST.annotated).unlink()
    assert [damage.file for damage in step_damage(storage)] == [
        f"test://bucket/run/{FIRST.annotated}",
        f"test://bucket/run/{WEIGHTS}",
    ]


def test_answers_of_the_evaluation_set_are_behind_evaluations_alone() -> None:
    names = ["corpus", "evaluation_answers", "stages/00/metrics", "stages/01/plan"]
    steps = [*names, "stages/01/annotated", "stages/01/student", "stages/01/metrics"]
    lost = steps_made_from("evaluation_answers", steps)
    assert sorted(lost) == ["evaluation_answers", "stages/00/metrics", "stages/01/metrics"]


def test_nothing_is_behind_benchmarks() -> None:
    steps = ["corpus", "stages/00/benchmarks", "stages/01/student", "stages/01/benchmarks"]
    assert steps_made_from("stages/00/benchmarks", steps) == ["stages/00/benchmarks"]
    assert steps_made_from("stages/01/student", steps) == steps[2:], "they are the student's"
