"""The process of a trial: an ordinary run that reports to Ray Tune after every stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import tune

from baldistill.answers.store import ResponseStore
from baldistill.commands.run import RunResult, run
from baldistill.config import Config
from baldistill.errors import FolderInUseError, UserError
from baldistill.masking import masked_text
from baldistill.placement.engines import Engines
from baldistill.run_folder import layout
from baldistill.run_folder.layout import METRIC_NAMES
from baldistill.storage import Storage
from baldistill.tune.plan import config_of, for_trial
from baldistill.tune.record import (
    TrialRecord,
    read_record,
    run_folder,
    spent_by,
    stage_results,
)
from baldistill.tune.space import Space

_PATIENCE = 60.0  # seconds for the process of a killed sweep to end


@dataclass(frozen=True, slots=True)
class Setup:
    """Inputs that all trials share, sent to their processes.

    Attributes:
        folder: The sweep's.
        base: The config that the trials vary.
        engines: Engines that the sweep started, one set for each trial at a time; empty where
            every trial starts its own.
        in_flight: The actor that keeps trials side by side from making the same calls; None
            where trials go one by one.
    """

    folder: Storage
    base: Config
    space: Space
    engines: Sequence[Engines]
    in_flight: Any = None


def run_trial(chosen: Mapping[str, Any], setup: Setup) -> None:
    """Run a trial, or report again what it reported before the sweep was killed.

    Args:
        chosen: `trial`, the name, and `slot`, the number of its engines.
        setup: What all trials share.

    Raises:
        Exception: The run failed; the message is left in the run folder for the sweep.
    """
    record = read_record(setup.folder, chosen["trial"])
    config = config_of(setup.base, setup.space, record.values, record.name)
    reporter = _Reporter(setup, record.name, config.stages)
    if record.is_final:
        for stage, metrics in stage_results(setup.folder, record.name):
            reporter.report(stage, metrics)
        return
    with _reason_written(run_folder(setup.folder, record.name)):
        result = _run(for_trial(config, record.cap), record, setup, chosen["slot"], reporter)
        reporter.report(config.stages, result.metrics)


def failure_of(folder: Storage, name: str) -> str | None:
    """Return why a trial failed, if its process could still write the reason."""
    storage = run_folder(folder, name)
    return storage.read_text(layout.FAILURE) if storage.exists(layout.FAILURE) else None


def score_of(names: Sequence[str], metrics: Mapping[str, Any]) -> float:
    """Return the mean of the space's metrics, by which trials are stopped and compared.

    Raises:
        UserError: A metric has no value.
    """
    return sum(metric_of(name, metrics) for name in names) / len(names)


def metric_of(name: str, metrics: Mapping[str, Any]) -> float:
    """Return a metric by the name that a space gives it."""
    is_domain = name.startswith("domain/")
    if name.startswith("own/"):
        value = metrics.get("own", {}).get(name.removeprefix("own/"))
    elif is_domain:
        value = metrics["per_domain"].get(name.removeprefix("domain/"), {}).get("score")
    else:
        value = metrics.get(name)
    if value is None:
        others = (
            [f"domain/{domain}" for domain in metrics["per_domain"]]
            if is_domain
            else [metric for metric in METRIC_NAMES if metrics.get(metric) is not None]
        )
        if not others and (left_out := metrics.get("left_out")):
            raise UserError(
                f"the metric {name} has no value: no answer was judged ({', '.join(left_out)}); "
                "raise that cap in the config of the sweep"
            )
        raise UserError(
            f"the metric {name} has no value on this evaluation set; there are {', '.join(others)}"
        )
    return float(value)


class _Reporter:
    """Reports the metrics of a trial to Ray Tune, which may end the trial there."""

    def __init__(self, setup: Setup, name: str, stages: int) -> None:
        self._setup, self._name, self._stages = setup, name, stages

    def before_last(self, stage: int, metrics: dict[str, Any]) -> None:
        """Report a stage; the last one is reported when the run has written its result."""
        if stage < self._stages:
            self.report(stage, metrics)

    def report(self, stage: int, metrics: Mapping[str, Any]) -> None:
        spent = spent_by(self._setup.folder, self._name)
        tune.report(
            {
                "score": score_of(self._setup.space.metric, metrics),
                "stage": stage,
                "progress": 100.0 * stage / self._stages,
                **{
                    name: value for name in METRIC_NAMES if (value := metrics.get(name)) is not None
                },
                "domain": {d: row["score"] for d, row in metrics["per_domain"].items()},
                "calls": spent.calls,
                "reused": spent.reused,
            }
        )


def _run(
    config: Config, record: TrialRecord, setup: Setup, slot: int, reporter: _Reporter
) -> RunResult:
    engines = setup.engines[slot] if setup.engines else None
    store = ResponseStore(setup.folder.sub(layout.RESPONSES), setup.in_flight)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return run(
                config,
                run_dir=run_folder(setup.folder, record.name).uri,
                store=store,
                engines=engines,
                on_stage=reporter.before_last,
                quiet=True,
            )
        except FolderInUseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@contextmanager
def _reason_written(storage: Storage) -> Iterator[None]:
    """Write the message of a failure into the run folder: Ray Tune keeps only a pickle."""
    storage.delete(layout.FAILURE)
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        storage.write_text(layout.FAILURE, masked_text(f"{kind}{error}"))
        raise
