"""Does the best config hold where the sweep did not look? It against the base, on other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from baldistill.commands.compare import compare
from baldistill.config import Config
from baldistill.errors import ConfigError
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.tune.plan import SweepPlan


def check_seeds(plan: SweepPlan, seeds: Sequence[int]) -> None:
    """Raises ConfigError for a seed that a trial of the sweep has used."""
    seen = {config.seed for config in plan.configs()}
    if "seed" in plan.space.parameters and plan.points is None:
        raise ConfigError("--validate-seeds needs to know the sweep's seeds, and seed is searched")
    for seed in seeds:
        if seed in seen:
            raise ConfigError(f"seed {seed} was used by the sweep: validate on others")


def validate_best(
    folder: Storage,
    base: Config,
    best: Config,
    seeds: Sequence[int],
    *,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run both on each seed; `validation/` gets the table, the figure and the runs.

    Returns:
        The content of `comparison.json`.
    """
    configs = {"base": base, "best": best}

    def config_of(name: str, seed: int) -> Config:
        config = configs[name]
        evaluation = config.evaluation.model_copy(
            update={"every_stage": False, "base_student": False}
        )
        return config.model_copy(update={"evaluation": evaluation, "seed": seed})

    return compare(
        config_of,
        tuple(configs),
        seeds,
        run_dir=folder.sub(layout.VALIDATION).uri,
        parallel=1,
        verbose=verbose,
        quiet=quiet,
    )
