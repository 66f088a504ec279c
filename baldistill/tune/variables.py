"""From the parameters of a space to points: single numbers and choices that a search can pick.

A parameter is one variable, or several (`per_stage`). A point gives each variable a value, and
`settings` turns it back into dotted config keys. Pure, and the same on every machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from baldistill.errors import ConfigError
from baldistill.tune.space import Choice, FloatRange, IntRange, Parameter, PerStage, Space

Point: TypeAlias = dict[str, Any]
"""A value for each variable; of a choice, the number of the value."""
_DIGITS = 6  # significant; a sampled 0.30000000000000004 helps nobody


@dataclass(frozen=True, slots=True)
class Variable:
    """One thing to pick.

    Attributes:
        name: The config key, with the stage or end behind it where a list is made of several.
        domain: Choice, FloatRange or IntRange.
    """

    name: str
    domain: Choice | FloatRange | IntRange

    def grid(self) -> list[Any]:
        """Its values in a grid search."""
        match self.domain:
            case Choice(values=values):
                return list(range(len(values)))
            case IntRange(low=low, high=high, step=step):
                return list(range(low, high + 1, step))
            case FloatRange(points=points):
                return [self._at(i / (points - 1)) for i in range(points)]

    def sample(self, random: np.random.Generator) -> Any:
        """A random value."""
        if isinstance(self.domain, FloatRange):
            return self._at(float(random.random()))
        values = self.grid()
        return values[int(random.integers(len(values)))]

    def _at(self, position: float) -> float:
        domain = self.domain
        assert isinstance(domain, FloatRange)
        if domain.log:
            value = domain.low * (domain.high / domain.low) ** position
        else:
            value = domain.low + (domain.high - domain.low) * position
        return min(max(float(f"{value:.{_DIGITS}g}"), domain.low), domain.high)


def variables(space: Space, stages: int) -> list[Variable]:
    """All variables of a space.

    Args:
        space: The space.
        stages: K of the base config.

    Raises:
        ConfigError: A list with a number for each stage, where the number of stages varies.
    """
    found: list[Variable] = []
    for key, parameter in space.parameters.items():
        if isinstance(parameter, PerStage) and parameter.shape != "constant":
            if "stages" in space.parameters:
                raise ConfigError(
                    f"parameters.{key} has a number for each stage, but stages varies too: make "
                    "its shape constant, or give stages under fixed"
                )
            scale = FloatRange(low=parameter.low, high=parameter.high, points=parameter.points)
            found += [Variable(name, scale) for name in _parts(key, parameter, stages)]
        elif isinstance(parameter, PerStage):
            scale = FloatRange(low=parameter.low, high=parameter.high, points=parameter.points)
            found.append(Variable(key, scale))
        else:
            found.append(Variable(key, parameter))
    return found


def settings(space: Space, point: Mapping[str, Any], stages: int) -> dict[str, Any]:
    """The dotted config keys that a point sets.

    Args:
        space: The space.
        point: A value for each of its variables.
        stages: K of the base config.
    """
    if "stages" in space.parameters:
        stages = int(_value("stages", space.parameters["stages"], point, stages))
    return {
        key: _value(key, parameter, point, stages) for key, parameter in space.parameters.items()
    }


def grid_points(names: Sequence[Variable]) -> list[Point]:
    """All combinations, the last variable changing fastest."""
    grids = [variable.grid() for variable in names]
    keys = [variable.name for variable in names]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*grids)]


def random_point(names: Sequence[Variable], seed: int, number: int) -> Point:
    """The random point of a trial: of the seed and its number alone, so more may follow later."""
    random = np.random.default_rng([seed, number])
    return {variable.name: variable.sample(random) for variable in names}


def _parts(key: str, parameter: PerStage, stages: int) -> list[str]:
    if parameter.shape == "linear":
        return [f"{key}.first", f"{key}.last"]
    return [f"{key}.{stage}" for stage in range(1, stages + 1)]


def _value(key: str, parameter: Parameter, point: Mapping[str, Any], stages: int) -> Any:
    match parameter:
        case Choice(values=values):
            return values[point[key]]
        case PerStage(shape="constant"):
            return [point[key]] * stages
        case PerStage(shape="linear"):
            first, last = (point[name] for name in _parts(key, parameter, stages))
            steps = max(1, stages - 1)
            return [_rounded(first + (last - first) * i / steps) for i in range(stages)]
        case PerStage():
            return [point[name] for name in _parts(key, parameter, stages)]
        case _:
            return point[key]


def _rounded(value: float) -> float:
    assert math.isfinite(value)
    return float(f"{value:.{_DIGITS}g}")
