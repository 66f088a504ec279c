"""Check that the files of a run folder are still as its markers recorded them.

Whoever relies on markers (a resumed run, a report, a comparison, a sweep) looks here first, before
anything is paid. `commands/repair.py` gives up what was lost, if the user wants that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from baldistill.errors import UserError
from baldistill.run_folder import artifacts, layout
from baldistill.run_folder.layout import StepName, marker
from baldistill.run_folder.steps import DamagedMarkerError, read_marker, ways_out
from baldistill.storage import Storage

_MOST_NAMED = 5
_STUDENT: StepName = "student"
_LAST: tuple[StepName, ...] = ("metrics", "benchmarks")
_ORDER = {name: number for number, name in enumerate(get_args(StepName))}


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a run folder that is missing, or not as it was written.

    Attributes:
        file: Its path or URI.
        problem: What was found, and what was expected; goes on from the file's name.
        loss: What going on without the file gives up.
        mend: Gives it up, so that the run can go on. It may be called again after a crash.
    """

    file: str
    problem: str
    loss: str
    mend: Callable[[], None]

    def describe(self) -> str:
        """Describe the damage in one line."""
        return f"{self.file} {self.problem}"


def check_steps(storage: Storage, *, students: bool = True) -> None:
    """Check that the files of the committed steps are as they were committed; see `step_damage`.

    Raises:
        UserError: Some are not; names them and the ways out.
    """
    found = step_damage(storage, students=students)
    if not found:
        return
    shown = "\n".join(damage.describe() for damage in found[:_MOST_NAMED])
    more = len(found) - _MOST_NAMED
    shown += f"\nand {more:,} more" if more > 0 else ""
    raise UserError(f"{shown}\n{ways_out(storage)}")


def step_damage(storage: Storage, *, thorough: bool = False, students: bool = True) -> list[Damage]:
    """Return the damage to the files of the committed steps, and to their markers.

    Args:
        storage: The run folder.
        thorough: Read all content of which a checksum was recorded; otherwise only small files on
            a disk, and the sizes of all.
        students: Look at the students' weights, too. Who only reads tables need not: users remove
            the weights of earlier stages to save space.
    """
    steps = committed_steps(storage)

    def look(step: str) -> dict[str, str]:
        try:
            content = read_marker(storage, step) or {}
        except DamagedMarkerError as error:
            return {marker(step): error.problem}
        if not students and step.endswith(f"/{_STUDENT}"):
            return {}
        return artifacts.differences(storage, content, thorough=thorough)

    differing = {step: files for step, files in artifacts.for_each(look, steps).items() if files}
    made_from = {other for step in differing for other in steps_made_from(step, steps)}
    lost = [step for step in steps if step in made_from]
    loss = _loss(storage, lost)
    return [
        Damage(storage.uri_of(file), problem, loss, partial(_give_up, storage, lost, file))
        for files in differing.values()
        for file, problem in files.items()
    ]


def committed_steps(storage: Storage) -> list[str]:
    """Return the committed steps of a run folder in the order in which a run does them."""
    prefix, _, ending = marker("*").partition("*")
    files = storage.files(prefix.rstrip("/"))
    names = [file.removeprefix(prefix) for file in files if file.endswith(ending)]
    return sorted((name.removesuffix(ending) for name in names), key=_position)


def steps_without_record(storage: Storage) -> list[str]:
    """Return the steps whose markers record no files: an earlier version committed them."""

    def has_none(step: str) -> bool:
        try:
            return artifacts.FILES not in (read_marker(storage, step) or {artifacts.FILES: {}})
        except DamagedMarkerError:
            return False

    found = artifacts.for_each(has_none, committed_steps(storage))
    return [step for step, without in found.items() if without]


def steps_made_from(step: str, steps: Sequence[str]) -> list[str]:
    """Return a step and those of `steps` behind it that depend on what it has written.

    Nothing depends on an evaluation or on benchmarks, and evaluations alone on the answers of the
    evaluation set.
    """
    if step.rpartition("/")[2] in _LAST:
        return [step]
    if step == layout.EVALUATION_ANSWERS_STEP:
        return [step, *(other for other in steps if other.rpartition("/")[2] == "metrics")]
    return [other for other in steps if _position(other) >= _position(step)]


def _position(step: str) -> tuple[int, int]:
    """Return where a step stands in a run: the corpus, then stage 0, stage 1 and so on."""
    if step == layout.CORPUS_STEP:
        return (-1, 0)
    folder, _, name = step.rpartition("/")
    number = folder.rpartition("/")[2]
    return (int(number) if number.isdigit() else 0, _ORDER.get(name, len(_ORDER)))


def _loss(storage: Storage, steps: Sequence[str]) -> str:
    seconds = sum(_seconds(storage, step) for step in steps)
    return (
        f"{seconds:,.0f} s of work: {', '.join(steps)} are done again, and what they have written "
        "is replaced. Stored answers of the teacher are not paid again. A student that turns out "
        "otherwise may choose other examples, which are paid within the caps"
    )


def _seconds(storage: Storage, step: str) -> float:
    try:
        return float((read_marker(storage, step) or {}).get("seconds", 0.0))
    except DamagedMarkerError:
        return 0.0


def _give_up(storage: Storage, steps: Sequence[str], file: str) -> None:
    """Let the next start do steps again; the last go first, so that a crash leaves no gap.

    The damaged file goes as well: the next start must not take it for a sound one.
    """
    storage.delete(layout.METRICS)
    for step in reversed(steps):
        storage.delete(marker(step))
    storage.delete(file)
