"""What a sweep will try: base config, space and points, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baldistill.config import Config
from baldistill.placement.resources import PLACEMENT_KEYS
from baldistill.report.figures.sweep import shown
from baldistill.tune.configs import config_of
from baldistill.tune.points import Listed, OptunaPoints, PointSource, listed_points
from baldistill.tune.record import trial_name
from baldistill.tune.space import Choice, Space, base_of
from baldistill.tune.stopping import check_stages
from baldistill.tune.variables import Point, Variable, settings, variables


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A sweep that can be run.

    Attributes:
        base: The user's config with what the space fixes.
        space: The space.
        variables: What its search picks.
        points: All of them; None where the search decides as it goes.
    """

    base: Config
    space: Space
    variables: tuple[Variable, ...]
    points: tuple[Point, ...] | None

    @property
    def num_trials(self) -> int:
        """How many trials there are at most."""
        if self.points is not None:
            return len(self.points)
        assert self.space.trials is not None, "checked by the space"
        return self.space.trials

    @property
    def shares_engines(self) -> bool:
        """Whether all trials can use the same engines: nothing that they depend on varies."""
        return not any(
            _covers(key, placed) for key in self.space.parameters for placed in PLACEMENT_KEYS
        )

    def values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The dotted config keys of a point."""
        return settings(self.space, point, self.base.stages)

    def configs(self) -> list[Config]:
        """The configs of all points that are known; at least the base's."""
        points = self.points or ()
        named = ((trial_name(n), self.values(point)) for n, point in enumerate(points, 1))
        return [config_of(self.base, self.space, values, name) for name, values in named] or [
            self.base
        ]

    def source(self, told: int) -> PointSource:
        """Where the points come from.

        Args:
            told: Trials that are in the record already.
        """
        if self.points is not None:
            return Listed(self.points)
        # the seed moves on, or a resumed search would begin with its first points again
        return OptunaPoints(self.variables, len(self.space.metric), self.space.seed + told)

    def label(self, values: Mapping[str, Any]) -> str:
        """A trial's values in a line."""
        return "; ".join(f"{key} = {shown(value)}" for key, value in values.items())


def make_plan(config: Config, space: Space) -> SweepPlan:
    """Check the space against the config: every config that can be known now is validated.

    Raises:
        ConfigError: A key or value that the config does not take, with the trial's name; or a
            stopping rule that the numbers of stages do not suit.
        MissingPackageError: The search needs a package that is not installed.
    """
    base = base_of(config, space)
    names = tuple(variables(space, base.stages))
    points = listed_points(space, names)
    plan = SweepPlan(base, space, names, None if points is None else tuple(points))
    if points is None:  # ranges are checked at their ends
        for end in (0, -1):
            corner = {variable.name: variable.grid()[end] for variable in names}
            config_of(base, space, plan.values(corner), "an end of the space")
    plan.configs()
    check_stages(space.stopping, _numbers_of_stages(plan))
    return plan


def _numbers_of_stages(plan: SweepPlan) -> list[int]:
    """Every K that a trial may have."""
    searched = [variable for variable in plan.variables if variable.name == "stages"]
    if not searched:
        return [plan.base.stages]
    (variable,) = searched
    parameter = variable.domain
    values = parameter.values if isinstance(parameter, Choice) else variable.grid()
    return [int(value) for value in values]


def _covers(key: str, option: str) -> bool:
    """Whether setting a key may change an option: it is that key, or above or below it."""
    return f"{key}.".startswith(f"{option}.") or f"{option}.".startswith(f"{key}.")
