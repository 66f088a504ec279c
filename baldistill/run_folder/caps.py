"""The caps of the budget that a stage was annotated under.

Caps may be raised while a run goes on. The stage that ended at a cap is then annotated further;
those before it stay as they are.
"""

from __future__ import annotations

from typing import Any

from baldistill.config import BudgetConfig
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage

CAPS = ("calls", "tokens", "cost")
"""The options of the budget that end a run early."""


def option_of(cap: str) -> str:
    """Return the option of the config that sets a cap of the ledger."""
    return "budget.total" if cap == "examples" else f"budget.{cap}"


def cap_reached(cap: str) -> str:
    """Say which cap of the budget was reached."""
    return f"the cap on {cap} was reached ({option_of(cap)})"


def caps_of_stage(storage: Storage, stage: int, budget: BudgetConfig) -> dict[str, Any]:
    """Return the caps that a stage was annotated under, or else the budget's.

    A stage that ended at a cap also gets the budget's, which may have been raised.
    """
    file = StageLayout(stage).caps
    before = storage.read_json(file) if storage.exists(file) else None
    if before is not None and before["reached"] is None:
        return dict(before["caps"])
    return budget.model_dump(mode="json", include=set(CAPS))


def write_caps_of_stage(
    storage: Storage, stage: int, caps: dict[str, Any], reached: str | None
) -> None:
    """Write the caps that a stage was annotated under, and the one that ended it."""
    storage.write_json(StageLayout(stage).caps, {"caps": caps, "reached": reached})
