"""The plan of a sweep: base config, space and points, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baldistill.config import Config
from baldistill.method.plan import equal_steps
from baldistill.placement.resources import PLACEMENT_KEYS
from baldistill.tune.points import (
    Listed,
    OptunaPoints,
    Point,
    PointSource,
    Variable,
    listed_points,
    settings,
    variables,
)
from baldistill.tune.record import trial_name
from baldistill.tune.space import Choice, Space, with_values
from baldistill.tune.stopping import check_stages


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A sweep that can be run.

    Attributes:
        base: The user's config with the keys that the space fixes.
        variables: The variables that its search picks.
        points: The points of all trials; None where the search decides as it goes.
    """

    base: Config
    space: Space
    variables: tuple[Variable, ...]
    points: tuple[Point, ...] | None

    @property
    def num_trials(self) -> int:
        """Return the largest possible number of trials."""
        if self.points is not None:
            return len(self.points)
        assert self.space.trials is not None, "checked by the space"
        return self.space.trials

    @property
    def shares_engines(self) -> bool:
        """Return whether all trials can share engines: no parameter changes what engines need."""
        return not any(
            _covers(key, placed) for key in self.space.parameters for placed in PLACEMENT_KEYS
        )

    def values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the dotted config keys that a point sets."""
        return settings(self.space, point, self.base.stages)

    def configs(self) -> list[Config]:
        """Return the config of every point; the base config where no point is decided yet."""
        if not self.points:
            return [self.base]
        return [
            config_of(self.base, self.space, self.values(point), trial_name(number))
            for number, point in enumerate(self.points, 1)
        ]

    def source(self, num_recorded: int) -> PointSource:
        """Return the source of the points; `num_recorded` trials are in the record already."""
        if self.points is not None:
            return Listed(self.points)
        # With the same seed a resumed search would propose its first points again.
        seed = self.space.seed + num_recorded
        return OptunaPoints(self.variables, len(self.space.metric), seed)


def make_plan(config: Config, space: Space) -> SweepPlan:
    """Check the space against the config, and validate every config that is decided already.

    Raises:
        ConfigError: A key or value that the config does not take, with the trial's name; or a
            stopping rule that the numbers of stages do not suit.
        MissingPackageError: The search needs a package that is not installed.
    """
    base = with_values(config, space.fixed, "fixed")
    searched = tuple(variables(space, base.stages))
    points = listed_points(space, searched)
    plan = SweepPlan(base, space, searched, None if points is None else tuple(points))
    if points is None:  # if the ends of all ranges are valid, we trust the values between
        for end in (0, -1):
            corner = {variable.name: variable.grid()[end] for variable in searched}
            config_of(base, space, plan.values(corner), "an end of the space")
    plan.configs()
    check_stages(space.stopping, _numbers_of_stages(plan))
    return plan


def _numbers_of_stages(plan: SweepPlan) -> list[int]:
    """Return every K that a trial may have."""
    for variable in plan.variables:
        if variable.name == "stages":
            domain = variable.domain
            values = domain.values if isinstance(domain, Choice) else variable.grid()
            return [int(value) for value in values]
    return [plan.base.stages]


def _covers(key: str, option: str) -> bool:
    """Tell whether a key may change an option: they are equal, or one is above the other."""
    return f"{key}.".startswith(f"{option}.") or f"{option}.".startswith(f"{key}.")


def config_of(base: Config, space: Space, values: Mapping[str, Any], name: str) -> Config:
    """Return the config of the trial `name` that sets some keys, as `best.yaml` would show it.

    Raises:
        ConfigError: The config does not take a key or a value.
    """
    config = with_values(base, values, name)
    return equal_steps(config, base) if space.equal_steps else config


def for_trial(config: Config, cap: int | None) -> Config:
    """Return the config that a trial runs with: every stage is evaluated, under a cap on calls.

    Benchmarks are left out: a search does not look at them.
    """
    evaluation = config.evaluation.model_copy(
        update={"every_stage": True, "base_student": False, "benchmarks": ()}
    )
    budget = config.budget.model_copy(update={"calls": cap}) if cap else config.budget
    return config.model_copy(update={"evaluation": evaluation, "budget": budget})
