"""Turn the parameters of a space into variables, and search points over these variables.

A parameter is one variable, or several (`per_stage`). A point gives each variable a value, and
`settings` turns it back into dotted config keys. Points come from a grid, a random sample, or
Optuna.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from baldistill.errors import ConfigError, MissingPackageError
from baldistill.records import digest
from baldistill.tune.space import Choice, FloatRange, IntRange, Parameter, PerStage, Space

Point: TypeAlias = dict[str, Any]
"""A value for each variable: the value itself, or its number in a choice."""
_DIGITS = 6  # significant ones: a sampled 0.30000000000000004 helps nobody


@dataclass(frozen=True, slots=True)
class Variable:
    """A number or a choice that a search picks.

    Attributes:
        name: The config key; of a list's variables, followed by the stage, `first` or `last`.
        domain: What the variable may be.
    """

    name: str
    domain: Choice | FloatRange | IntRange

    def grid(self) -> list[Any]:
        """Return the values in a grid search."""
        match self.domain:
            case Choice(values=values):
                return list(range(len(values)))
            case IntRange(low=low, high=high, step=step):
                return list(range(low, high + 1, step))
            case FloatRange(points=points):
                return [self._at(i / (points - 1)) for i in range(points)]

    def sample(self, random: np.random.Generator) -> Any:
        """Draw a random value."""
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
    """Return all variables of a space; `stages` is K of the base config.

    Raises:
        ConfigError: A list with a number for each stage, where the number of stages varies.
    """
    found: list[Variable] = []
    for key, parameter in space.parameters.items():
        if not isinstance(parameter, PerStage):
            found.append(Variable(key, parameter))
            continue
        if parameter.shape != "constant" and "stages" in space.parameters:
            raise ConfigError(
                f"parameters.{key} has a number for each stage, but stages varies too: make "
                "its shape constant, or give stages under fixed"
            )
        scale = FloatRange(low=parameter.low, high=parameter.high, points=parameter.points)
        found += [Variable(name, scale) for name in _variable_names(key, parameter, stages)]
    return found


def settings(space: Space, point: Mapping[str, Any], stages: int) -> dict[str, Any]:
    """Return the dotted config keys that a point sets; `stages` is K of the base config."""
    if "stages" in space.parameters:
        stages = int(_value("stages", space.parameters["stages"], point, stages))
    return {
        key: _value(key, parameter, point, stages) for key, parameter in space.parameters.items()
    }


def grid_points(searched: Sequence[Variable]) -> list[Point]:
    """Return all combinations, the last variable changing fastest."""
    grids = [variable.grid() for variable in searched]
    keys = [variable.name for variable in searched]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*grids)]


def random_point(searched: Sequence[Variable], seed: int, number: int) -> Point:
    """Draw the point of a trial from seed and number alone, so that more trials may follow."""
    random = np.random.default_rng([seed, number])
    return {variable.name: variable.sample(random) for variable in searched}


def _variable_names(key: str, parameter: PerStage, stages: int) -> list[str]:
    if parameter.shape == "constant":
        return [key]
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
            first, last = (point[name] for name in _variable_names(key, parameter, stages))
            steps = max(1, stages - 1)
            line = (first + (last - first) * i / steps for i in range(stages))
            return [float(f"{value:.{_DIGITS}g}") for value in line]
        case PerStage():
            return [point[name] for name in _variable_names(key, parameter, stages)]
        case _:
            return point[key]


class PointSource(Protocol):
    """Proposes points one by one, and may learn from their scores."""

    def next(self, number: int) -> Point:
        """Return the point of a trial; numbers begin at 1."""

    def tell(self, point: Point, scores: Sequence[float] | None) -> None:
        """Take note of the scores of a point: the space's metrics, or None for a failure."""


class Listed:
    """Points that are decided before anything runs."""

    def __init__(self, points: Sequence[Point]) -> None:
        """Take the points in the order of the trials."""
        self.points = points

    def next(self, number: int) -> Point:
        """Return the point of a trial."""
        return self.points[number - 1]

    def tell(self, point: Point, scores: Sequence[float] | None) -> None:
        """Ignore the scores: there is nothing to decide."""


class OptunaPoints:
    """Optuna's TPE sampler; with two metrics it works on the Pareto front.

    We use Optuna directly, because a resumed sweep tells the sampler its recorded trials again.
    Ray's wrapper of Optuna reads a pickle instead, and takes no recorded points of two metrics.
    """

    def __init__(self, searched: Sequence[Variable], num_metrics: int, seed: int) -> None:
        """Begin a study in memory."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._domains = {variable.name: _distribution(variable) for variable in searched}
        # With `constant_liar`, trials side by side keep away from each other.
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(directions=["maximize"] * num_metrics, sampler=sampler)
        self._asked: dict[str, Any] = {}

    def next(self, number: int) -> Point:
        """Return a point that looks promising after the scores so far."""
        trial = self._study.ask(self._domains)
        self._asked[digest(trial.params)] = trial
        return dict(trial.params)

    def tell(self, point: Point, scores: Sequence[float] | None) -> None:
        """Learn from a point, proposed here or before the sweep was killed."""
        states = self._optuna.trial.TrialState
        state = states.FAIL if scores is None else states.COMPLETE
        values = None if scores is None else list(scores)
        asked = self._asked.pop(digest(point), None)
        if asked is not None:
            self._study.tell(asked, values, state=state)
            return
        told = self._optuna.trial.create_trial(
            state=state, params=point, distributions=self._domains, values=values
        )
        self._study.add_trial(told)


def listed_points(space: Space, searched: Sequence[Variable]) -> list[Point] | None:
    """Return all points of a grid or a random sample; None for Optuna, which proposes each later.

    Raises:
        ConfigError: The grid has more points than the trials allow.
        MissingPackageError: Optuna is not installed.
    """
    if space.search == "optuna":
        if importlib.util.find_spec("optuna") is None:
            raise MissingPackageError(
                "search=optuna needs the package optuna: pip install 'baldistill[sweep]', or use "
                "search=random"
            )
        return None
    if space.search == "random":
        assert space.trials is not None
        return [random_point(searched, space.seed, n) for n in range(1, space.trials + 1)]
    points = grid_points(searched)
    if space.trials is not None and space.trials < len(points):
        raise ConfigError(
            f"the grid has {len(points)} points and trials says {space.trials}: leave trials out, "
            "lower the points of a parameter, or use search=random"
        )
    # Shuffle: along an axis each trial may beat all trials before it, and none would be stopped.
    # The order ignores the stopping rule, because a resumed sweep may change the rule.
    random.Random(space.seed).shuffle(points)
    return points


def _distribution(variable: Variable) -> Any:
    from optuna import distributions

    domain = variable.domain
    if isinstance(domain, Choice):
        return distributions.CategoricalDistribution(list(range(len(domain.values))))
    if isinstance(domain, FloatRange):
        return distributions.FloatDistribution(domain.low, domain.high, log=domain.log)
    return distributions.IntDistribution(domain.low, domain.high, step=domain.step)
