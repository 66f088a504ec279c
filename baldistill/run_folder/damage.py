"""All damage to a run folder that can be found: each part of the folder has a check of its own."""

from __future__ import annotations

from collections.abc import Callable

from baldistill.run_folder.integrity import Damage, step_damage
from baldistill.run_folder.ledger_log import ledger_damage
from baldistill.storage import Storage


def find_damage(storage: Storage) -> list[Damage]:
    """Return all damage to a run folder, reading every file of which a checksum was recorded."""
    return [damage for check in CHECKS for damage in check(storage)]


def _steps(storage: Storage) -> list[Damage]:
    return step_damage(storage, thorough=True)


CHECKS: tuple[Callable[[Storage], list[Damage]], ...] = (_steps, ledger_damage)
