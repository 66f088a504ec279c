"""`baldistill repair`: what is damaged in a run folder, and going on without it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from baldistill.errors import UserError
from baldistill.run_folder import layout
from baldistill.run_folder.damage import find_damage
from baldistill.run_folder.integrity import Damage, committed_steps, steps_without_record
from baldistill.run_folder.lock import only_run_in
from baldistill.storage import Storage


@dataclass(frozen=True, slots=True)
class Repair:
    """Findings of a check of a run folder.

    Attributes:
        run_dir: Path or URI of the run folder.
        accepted: Whether the losses were accepted, so that the run can go on.
        unknown: Steps of whose files nothing is known: an earlier version recorded none.
    """

    run_dir: str
    damage: tuple[Damage, ...]
    accepted: bool
    unknown: tuple[str, ...]

    @property
    def losses(self) -> list[str]:
        """List, without repeats, what the run loses if it goes on without the damaged files."""
        return list(dict.fromkeys(damage.loss for damage in self.damage))


def repair(run: str | Path, *, accept_loss: bool = False) -> Repair:
    """Compare all files of a run folder with what was recorded of them.

    Args:
        run: The run folder.
        accept_loss: Give up what is damaged. The run then goes on without; nothing is done again
            before it is started.

    Raises:
        UserError: It is no run folder, or, if losses are accepted, a run is at work there.
    """
    storage = Storage.open(run)
    if not storage.exists(layout.CONFIG) and not committed_steps(storage):
        raise UserError(
            f"{storage.uri} is no run folder (it has no config.yaml): give the folder that "
            "`baldistill run` named in its first line; those of a comparison or a sweep are in "
            "its folder"
        )
    with only_run_in(storage) if accept_loss else nullcontext():
        unknown = steps_without_record(storage)
        found = find_damage(storage)
        if accept_loss:
            for damage in found:
                damage.mend()
    return Repair(storage.uri, tuple(found), accept_loss, tuple(unknown))
