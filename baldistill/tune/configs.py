"""The configs of trials: the base config with what a point sets, always validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baldistill.config import Config
from baldistill.method.plan import equal_steps
from baldistill.tune.space import Space, with_values


def config_of(base: Config, space: Space, values: Mapping[str, Any], name: str) -> Config:
    """The config of a trial, as `best.yaml` would show it.

    Raises:
        ConfigError: With the key that the config does not take; `name` is what it calls the trial.
    """
    config = with_values(base, values, name)
    return equal_steps(config, base) if space.equal_steps else config


def for_trial(config: Config, cap: int | None) -> Config:
    """The same for running in a sweep: every stage reports, and the sweep's cap holds.

    Args:
        config: Of the trial.
        cap: Its part of the sweep's cap on teacher calls.
    """
    evaluation = config.evaluation.model_copy(update={"every_stage": True, "base_student": False})
    budget = config.budget.model_copy(update={"calls": cap}) if cap else config.budget
    return config.model_copy(update={"evaluation": evaluation, "budget": budget})
