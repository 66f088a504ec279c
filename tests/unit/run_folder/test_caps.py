"""Caps may be raised while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from baldistill.config import BudgetConfig
from baldistill.config.loading import load_config
from baldistill.run_folder.caps import CAPS, caps_of_stage, write_caps_of_stage
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage


@dataclass(frozen=True)
class Done:
    """The result of an annotation."""

    refused: str | None


def test_a_raised_cap_reopens_the_stage_that_it_ended_alone(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    old, new = (load_config(None, [f"budget.calls={n}"]).budget for n in (100, 200))

    def annotate(stage: int, budget: BudgetConfig, refused: str | None = None) -> bool:
        """Return whether the stage was annotated now, and not before."""
        caps, made = caps_of_stage(storage, stage, budget), []

        def make() -> Done:
            made.append(stage)
            write_caps_of_stage(storage, stage, caps, refused)
            return Done(refused)

        Chain(storage, StageLayout(stage).folder).step("annotated", {"caps": caps}, make, Done)
        return bool(made)

    assert annotate(1, old)
    assert annotate(2, old, "calls")
    assert not annotate(1, old)
    assert not annotate(2, old)
    assert not annotate(1, new)
    assert annotate(2, new)
    assert not annotate(2, new)
    assert caps_of_stage(storage, 3, new) == {"calls": 200, "tokens": None, "cost": None}
    assert set(CAPS) == set(caps_of_stage(storage, 1, new))
