"""Search spaces: which dotted config keys vary, how they are searched, when a trial is stopped.

A space is a YAML file (`tune_spaces/`). This module imports neither ray nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from baldistill.config import Config
from baldistill.config.loading import read_mapping, set_value, validate, validate_as
from baldistill.config.sections import Count, Section
from baldistill.errors import ConfigError
from baldistill.run_folder.layout import METRIC_NAMES
from baldistill.shipped import shipped
from baldistill.yaml12 import write_yaml

Search: TypeAlias = Literal["grid", "random", "optuna"]


class Choice(Section):
    """One of some values, of any type: `{kind: choice, values: [natural, adaptive]}`."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[Any, ...], Field(min_length=1)]
    """A value may be a mapping, such as a whole policy."""


class FloatRange(Section):
    """A number between two bounds."""

    kind: Literal["float"] = "float"
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Make every order of magnitude equally likely; low must be above 0."""
    points: Annotated[int, Field(ge=2)] = 4
    """Values on the axis of a grid search, both bounds among them."""

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_bounds(self.low, self.high)
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 on a log scale, not {self.low:g}")
        return self


class IntRange(Section):
    """A whole number between two bounds."""

    kind: Literal["int"] = "int"
    low: int
    """Smallest value."""
    high: int
    """Largest value, if the steps from low meet it."""
    step: Count = 1
    """Distance of two values."""

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_bounds(self.low, self.high)
        return self


class PerStage(Section):
    """A list with one number for each of the K stages."""

    kind: Literal["per_stage"] = "per_stage"
    shape: Literal["constant", "linear", "free"]
    """`constant`: the same number in all stages. `linear`: from a number of the first stage to a
    number of the last. `free`: a number of its own for each of the K stages."""
    low: float = 0.0
    """Smallest value."""
    high: float = 1.0
    """Largest value."""
    points: Annotated[int, Field(ge=2)] = 3
    """Values of each searched number in a grid search."""

    @model_validator(mode="after")
    def _ordered(self) -> PerStage:
        _check_bounds(self.low, self.high)
        return self


Parameter: TypeAlias = Annotated[
    Choice | FloatRange | IntRange | PerStage, Field(discriminator="kind")
]


class Asha(Section):
    """Asynchronous successive halving: at each rung only the best part goes on."""

    kind: Literal["asha"] = "asha"
    grace: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """No trial is stopped before this share of its stages. Early stages say little: a policy that
    balances late is bad in the tail until it does."""
    reduction_factor: Annotated[float, Field(gt=1.0)] = 2.0
    """Factor r: at the shares `grace`, r `grace`, r^2 `grace` and so on, 1/r of the trials go on.
    If the number of stages is searched, each number must have a stage that ends at each share."""


class Median(Section):
    """A trial stops if its best score is below the median of the other trials' running means."""

    kind: Literal["median"] = "median"
    grace: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """No trial is stopped before this share of its stages."""
    min_trials: Count = 3
    """No trial is stopped before this many trials have come as far."""


class NoStopping(Section):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


Stopping: TypeAlias = Annotated[Asha | Median | NoStopping, Field(discriminator="kind")]


class MlflowLog(Section):
    """Log every trial to MLflow (package mlflow)."""

    tracking_uri: str | None = None
    """Server or folder; MLflow's own default and environment without it."""
    experiment: str = "baldistill"
    """Experiment that the trials are runs of."""


class WandbLog(Section):
    """Log every trial to Weights & Biases (package wandb; the key from WANDB_API_KEY)."""

    project: str = "baldistill"
    """Project that the trials are runs of."""
    group: str | None = None
    """Group of the trials."""


class Space(Section):
    """A sweep: its parameters, and the search, the metric and the stopping rule that it uses."""

    search: Search = "random"
    """All points of a grid, a seeded random sample, or Optuna's TPE sampler (extra `sweep`)."""
    trials: Count | None = None
    """Number of trials; without it a grid tries all its points."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the search. The seed of the trials is the config's own."""
    metric: tuple[str, ...] = ("macro",)
    """Metric to maximise: macro, micro, natural, head, tail, or `domain/NAME`. Two of them are a
    trade-off: the Pareto front is shown, and stopping and `best.yaml` go by their mean."""
    stopping: Stopping = Asha()
    """asha | median | none."""
    calls: Count | None = None
    """Cap on the teacher calls of all trials together. A trial that could break it is not
    started; every trial is then capped by its `budget.calls`, or else by its own forecast. A trial
    that started before there was a cap goes on without one, and counts with its forecast. Runs of
    `--validate-seeds` are no trials."""
    equal_steps: bool = False
    """Scale `student.epochs` so that trials with other numbers of stages take as many optimiser
    steps as the base config. This applies where each stage continues the last student and trains
    on all examples annotated so far: there the steps of the stages add up."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Config keys that are the same in all trials, set before the parameters."""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    """Parameters that vary, by dotted config key."""
    tensorboard: bool = True
    """Write TensorBoard files, under `tune/` in the sweep's folder."""
    mlflow: MlflowLog | None = None
    """Also log to MLflow."""
    wandb: WandbLog | None = None
    """Also log to Weights & Biases."""

    @model_validator(mode="before")
    @classmethod
    def _shorthands(cls, values: Any) -> Any:
        """`metric: macro` is `metric: [macro]`, `stopping: asha` is `stopping: {kind: asha}`."""
        if not isinstance(values, Mapping):
            return values
        longhand = dict(values)
        if isinstance(metric := values.get("metric"), str):
            longhand["metric"] = [metric]
        if isinstance(stopping := values.get("stopping"), str):
            longhand["stopping"] = {"kind": stopping}
        return longhand

    @model_validator(mode="after")
    def _complete(self) -> Space:
        if not 1 <= len(self.metric) <= 2 or len(set(self.metric)) != len(self.metric):
            raise ValueError("metric must be one name or two different ones")
        for name in self.metric:
            if name not in METRIC_NAMES and not name.startswith(("domain/", "own/")):
                raise ValueError(
                    f"metric {name!r} is none of {', '.join(METRIC_NAMES)}, domain/NAME, own/NAME"
                )
        if self.search != "grid" and self.trials is None:
            raise ValueError(f"search {self.search} needs trials: how many")
        return self


def load_space(source: str | Path, changes: Mapping[str, Any] | None = None) -> Space:
    """Read and validate a space from a YAML file; `changes` are keys that the user sets.

    Raises:
        ConfigError: With every problem found, its key, and the nearest known key.
    """
    path = Path(source)
    if not path.is_file():
        raise ConfigError(
            f"space {path} does not exist: see {shipped('tune_spaces')}/ for some to begin with"
        )
    return parse_space(path.read_text("utf-8"), str(path), changes)


def parse_space(text: str, name: str, changes: Mapping[str, Any] | None = None) -> Space:
    """Parse and validate a space from YAML text; errors call the space `name`."""
    values = read_mapping(text, f"space {name}")
    return validate_as(Space, {**values, **(changes or {})}, f"space {name}")


def dump_space(space: Space) -> str:
    """Write the space as YAML that `parse_space` reads back."""
    return write_yaml(space.model_dump(mode="json"))


def with_values(config: Config, values: Mapping[str, Any], name: str) -> Config:
    """Set dotted keys of a config, and validate it; errors call the keys `name`."""
    tree = config.model_dump(mode="json")
    for key, value in values.items():
        set_value(tree, key, value)
    return validate(tree, name)


def _check_bounds(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"low ({low:g}) must be below high ({high:g})")
