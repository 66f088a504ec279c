"""Where the points of a search come from: a grid, a random sample, or Optuna."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from typing import Any, Protocol

from baldistill.errors import ConfigError, MissingPackageError
from baldistill.records import digest
from baldistill.tune.space import Choice, FloatRange, Space
from baldistill.tune.variables import Point, Variable, grid_points, random_point


class PointSource(Protocol):
    """Gives points one by one and may learn from what came of them."""

    def next(self, number: int) -> Point:
        """The point of a trial (numbers from 1)."""

    def tell(self, point: Point, scores: Sequence[float] | None) -> None:
        """What came of a point: the space's metrics, or None where it has none."""


class Listed:
    """Points that are known before anything runs."""

    def __init__(self, points: Sequence[Point]) -> None:
        """In the order of the trials."""
        self.points = points

    def next(self, number: int) -> Point:
        """The point of a trial."""
        return self.points[number - 1]

    def tell(self, point: Point, scores: Sequence[float] | None) -> None:
        """Nothing to learn."""


class OptunaPoints:
    """Optuna's TPE sampler, asked and told; with two metrics it works on the Pareto front.

    Optuna is used directly: what a resumed sweep tells it again comes from the sweep's record,
    where Ray's wrapper would read a pickle, and cannot take recorded points of two metrics.
    """

    def __init__(self, names: Sequence[Variable], metrics: int, seed: int) -> None:
        """A new study in memory.

        Args:
            names: What to pick.
            metrics: How many are made high.
            seed: Of the sampler. A resumed sweep takes another, or its first points come again.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._domains = {variable.name: _distribution(variable) for variable in names}
        # constant_liar: trials side by side keep away from each other
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(directions=["maximize"] * metrics, sampler=sampler)
        self._asked: dict[str, Any] = {}

    def next(self, number: int) -> Point:
        """A point that what was told makes promising."""
        trial = self._study.ask(self._domains)
        self._asked[digest(trial.params)] = trial
        return dict(trial.params)

    def tell(self, point: Point, scores: Sequence[float] | None) -> None:
        """Learn what came of a point, asked for here or before the sweep was killed."""
        states = self._optuna.trial.TrialState
        state = states.FAIL if scores is None else states.COMPLETE
        values = None if scores is None else list(scores)
        asked = self._asked.pop(digest(point), None)
        if asked is not None:
            self._study.tell(asked, values, state=state)
            return
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=state, params=point, distributions=self._domains, values=values
            )
        )


def listed_points(space: Space, names: Sequence[Variable]) -> list[Point] | None:
    """All points of a grid or of a random sample; None for Optuna's, which come one by one.

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
        return [random_point(names, space.seed, n) for n in range(1, space.trials + 1)]
    points = grid_points(names)
    if space.trials is not None and space.trials < len(points):
        raise ConfigError(
            f"the grid has {len(points)} points and trials says {space.trials}: leave trials out, "
            "lower the points of a parameter, or use search=random"
        )
    # along an axis each trial may be better than all before it, and none would be stopped; whatever
    # the stopping rule, which a sweep that goes on may change: its trials must stay the same
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
