"""Run the trials of a sweep: how many at a time, on which engines, through Ray Tune."""

from __future__ import annotations

from typing import Any

from ray import tune

from baldistill.answers.store import ResponseStore
from baldistill.commands.plan import plan_run
from baldistill.commands.run import validated_corpus
from baldistill.config import Config
from baldistill.placement.engines import Engines, base_student
from baldistill.placement.parallel_runs import num_parallel_runs
from baldistill.placement.resources import Cluster, place
from baldistill.progress.display import Display
from baldistill.records import digest
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.teacher.in_flight import start_in_flight
from baldistill.tune.plan import SweepPlan
from baldistill.tune.record import TrialRecord, read_records, run_folder
from baldistill.tune.search import RecordedSearch
from baldistill.tune.stopping import scheduler_of
from baldistill.tune.trackers import trackers_of
from baldistill.tune.trial import Setup, run_trial


def run_trials(
    plan: SweepPlan,
    folder: Storage,
    cluster: Cluster,
    parallel: int | None,
    display: Display,
) -> None:
    """Run every trial that has not come to its end; its record says how it ended.

    Args:
        plan: What to try.
        folder: Of the sweep.
        cluster: What there is.
        parallel: Trials at a time; by default as many as fit.
        display: For the progress.

    Raises:
        ResourceError: So many at a time do not fit.
    """
    width = num_parallel_runs(plan.configs(), cluster, plan.num_trials, parallel)
    display.say(f"{width} at a time; starting the engines ...")
    search = RecordedSearch(
        plan,
        plan.source(told=len(read_records(folder))),
        folder,
        forecast=_Forecast(folder, plan, cluster, width),
        slots=width,
        display=display,
    )
    engines = _engines(plan, folder, width, cluster)
    try:
        in_flight = start_in_flight() if width > 1 else None
        setup = Setup(folder, plan.base, plan.space, engines, in_flight)
        _tuner(setup, search, width).fit()
    finally:
        for one in engines:
            one.close()


def is_finished(plan: SweepPlan, folder: Storage) -> bool:
    """Whether there is nothing left to run; a trial that failed is tried again."""
    records = read_records(folder).values()
    return sum(record.is_final for record in records) == plan.num_trials


def _tuner(setup: Setup, search: RecordedSearch, width: int) -> tune.Tuner:
    """Ray Tune over the searcher's trials; what it kept of an earlier start is replayed anew."""
    setup.folder.delete(layout.TUNE_STATE)
    # a trial waits: its pools and workers take the CPUs. A placement group wants something, though
    nothing = tune.PlacementGroupFactory([{"memory": 1}])
    trainable = tune.with_parameters(run_trial, setup=setup)
    return tune.Tuner(
        tune.with_resources(trainable, nothing),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=scheduler_of(setup.space.stopping),
            num_samples=-1,
            max_concurrent_trials=width,
            reuse_actors=True,  # importing torch and transformers again costs 8 s
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
        ),
        run_config=tune.RunConfig(
            name=layout.TUNE_STATE,
            storage_path=setup.folder.uri,
            callbacks=trackers_of(setup.space),
            verbose=0,
        ),
    )


def _name_of(trial: Any) -> str:
    return str(trial.config["trial"])


class _Forecast:
    """Checks that a trial fits beside others; where the sweep has a cap, bounds its calls."""

    def __init__(self, folder: Storage, plan: SweepPlan, cluster: Cluster, width: int) -> None:
        self._folder, self._plan, self._cluster, self._width = folder, plan, cluster, width
        self._counts: dict[str, dict[str, int]] = {}

    def __call__(self, record: TrialRecord, config: Config) -> int:
        # a search that goes on may propose more than the first trials took
        num_parallel_runs([config], self._cluster, self._width, self._width)
        if self._plan.space.calls is None:
            return 0
        if config.budget.calls is not None:
            return config.budget.calls
        corpus = digest({"data": config.data.model_dump(mode="json"), "seed": config.seed})
        if corpus not in self._counts:  # read where the trial will find it
            storage = run_folder(self._folder, record.name)
            _, summary = validated_corpus(config, storage, Display(quiet=True))
            self._counts[corpus] = summary.counts
        placement = place(config, self._cluster)
        return plan_run(config, self._counts[corpus], placement).calls_at_most


def _engines(plan: SweepPlan, folder: Storage, width: int, cluster: Cluster) -> list[Engines]:
    """Running engines for each trial at a time; none where trials must start their own."""
    placement = place(plan.base, cluster)
    if placement.take_turns or not plan.shares_engines:
        return []
    store = ResponseStore(folder.sub(layout.RESPONSES))
    engines = [Engines(plan.base, placement, store) for _ in range(width)]
    for one in engines:  # all: a trial that started one itself would leave it running
        one.student(base_student(plan.base))
        for tier in range(len(plan.base.teacher.tiers)):
            one.teacher(tier)
    return engines
