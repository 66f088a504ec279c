"""Run the trials of a sweep through Ray Tune: how many at a time, on which engines, with logs."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from ray import tune

from baldistill.answers.store import ResponseStore
from baldistill.commands.inputs import validated_corpus
from baldistill.commands.plan import plan_run
from baldistill.config import Config
from baldistill.data.summary import CorpusSummary
from baldistill.errors import MissingPackageError, UserError
from baldistill.placement.engines import Engines, base_student
from baldistill.placement.parallel_runs import num_parallel_runs
from baldistill.placement.resources import Cluster, place
from baldistill.progress.display import Display
from baldistill.records import digest
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.teacher.in_flight import start_in_flight
from baldistill.tune.plan import SweepPlan, for_trial
from baldistill.tune.record import TrialRecord, read_records, run_folder
from baldistill.tune.search import RecordedSearch
from baldistill.tune.space import Space
from baldistill.tune.stopping import scheduler_of
from baldistill.tune.trial import Setup, run_trial


def run_trials(
    plan: SweepPlan,
    folder: Storage,
    cluster: Cluster,
    parallel: int | None,
    display: Display,
) -> None:
    """Run every trial that has not come to its end, as many at a time as fit or as wanted.

    Raises:
        ResourceError: `parallel` trials at a time do not fit.
    """
    width = num_parallel_runs(plan.configs(), cluster, plan.num_trials, parallel)
    display.say(f"{width} at a time; starting the engines ...")
    search = RecordedSearch(
        plan,
        plan.source(len(read_records(folder))),
        folder,
        forecast=Forecast(folder, plan, cluster, width),
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
    """Tell whether there is nothing left to run; a trial that failed is tried again."""
    records = read_records(folder).values()
    return sum(record.is_final for record in records) == plan.num_trials


def _tuner(setup: Setup, search: RecordedSearch, width: int) -> tune.Tuner:
    """Set up Ray Tune; its state of an earlier start is deleted, and the record replayed."""
    setup.folder.delete(layout.TUNE_STATE)
    # The process of a trial only waits: the trial's pools and workers take the CPUs. Ray refuses an
    # empty placement group, so the process asks for one byte of memory.
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


class Forecast:
    """Checks that a trial fits beside others, and bounds its calls where the sweep has a cap."""

    def __init__(self, folder: Storage, plan: SweepPlan, cluster: Cluster, width: int) -> None:
        self._folder, self._plan, self._cluster, self._width = folder, plan, cluster, width
        self._corpora: dict[str, CorpusSummary] = {}

    def __call__(self, record: TrialRecord, config: Config) -> int:
        """Return the most teacher calls of a trial; 0 without a cap.

        Raises:
            ResourceError: The trial does not fit; a search may propose more than fits at first.
        """
        num_parallel_runs([config], self._cluster, self._width, self._width)
        if self._plan.space.calls is None:
            return 0
        if config.budget.calls is not None:
            return config.budget.calls
        corpus = digest({"data": config.data.model_dump(mode="json"), "seed": config.seed})
        if corpus not in self._corpora:  # read it into the folder where the trial will find it
            storage = run_folder(self._folder, record.name)
            _, self._corpora[corpus] = validated_corpus(config, storage, Display(quiet=True))
        placement, sizes = place(config, self._cluster), self._corpora[corpus]
        planned = plan_run(
            for_trial(config, None), sizes.counts, placement, evaluated=sizes.evaluation_counts
        )
        return planned.calls_at_most


def _engines(plan: SweepPlan, folder: Storage, width: int, cluster: Cluster) -> list[Engines]:
    """Start engines for each trial at a time; none where trials must start their own."""
    placement = place(plan.base, cluster)
    if placement.take_turns or not plan.shares_engines:
        return []
    store = ResponseStore(folder.sub(layout.RESPONSES))
    engines = [Engines(plan.base, placement, store) for _ in range(width)]
    for one in engines:  # start all engines: a trial that starts one itself would leave it running
        one.student(base_student(plan.base))
        for tier in range(len(plan.base.models_asked)):
            one.teacher(tier)
    return engines


def trackers_of(space: Space) -> list[tune.Callback]:
    """Return Ray's callbacks that log trials: to TensorBoard by default, MLflow, W&B.

    Raises:
        MissingPackageError: One of them needs a package that is not installed.
        UserError: W&B has no key.
    """
    callbacks: list[tune.Callback] = []
    if space.tensorboard:
        _need("tensorboardX", "tensorboard", "pip install tensorboardX, or tensorboard: false")
        from ray.tune.logger import TBXLoggerCallback

        callbacks.append(TBXLoggerCallback())
    if space.mlflow is not None:
        _need("mlflow", "mlflow", "pip install 'baldistill[mlflow]'")
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        callbacks.append(
            MLflowLoggerCallback(
                tracking_uri=space.mlflow.tracking_uri, experiment_name=space.mlflow.experiment
            )
        )
    if space.wandb is not None:
        _need("wandb", "wandb", "pip install 'baldistill[wandb]'")
        from ray.air.integrations.wandb import WandbLoggerCallback

        _need_key()
        callbacks.append(WandbLoggerCallback(project=space.wandb.project, group=space.wandb.group))
    return callbacks


def _need(package: str, key: str, remedy: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"the space's {key} needs the package {package}: {remedy}")


def _need_key() -> None:
    import wandb

    offline = os.environ.get("WANDB_MODE") in ("offline", "disabled")
    if not (offline or os.environ.get("WANDB_API_KEY") or wandb.api.api_key):
        raise UserError(
            "the space's wandb needs a key: set WANDB_API_KEY, or WANDB_MODE=offline, or run "
            "`wandb login`"
        )
