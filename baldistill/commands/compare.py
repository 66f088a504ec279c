"""`baldistill compare`: the paper's tables 2 and 3 for any corpus.

Every method is a preset of the same config and runs through the same code at the same budget.
All runs share one store of the teacher's answers, so a call that two methods need is paid once.
If two runs side by side need the same call at the same moment, one waits for the other's answer.
A comparison that was stopped goes on: a complete run is not made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from baldistill.answers.store import ResponseStore
from baldistill.commands.run import run
from baldistill.config import Config
from baldistill.config.loading import dump_config
from baldistill.errors import ConfigError, UserError
from baldistill.generation.dispatcher import result_of
from baldistill.method.plan import equal_steps
from baldistill.placement.cluster import connected
from baldistill.placement.engines import Engines
from baldistill.placement.parallel_runs import num_parallel_runs
from baldistill.placement.resources import Cluster, place
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.progress.display import Display
from baldistill.report.comparison import (
    Outcome,
    markdown,
    reference_of,
    summarise,
    write_comparison,
)
from baldistill.run_folder import layout
from baldistill.run_folder.identity import adopt_comparison
from baldistill.run_folder.integrity import check_steps
from baldistill.run_folder.lock import only_run_in, only_user_of
from baldistill.run_folder.reader import corpus_counts
from baldistill.run_folder.spending import reused_from_other_runs
from baldistill.storage import Storage
from baldistill.teacher.in_flight import start_in_flight


@dataclass(frozen=True, slots=True)
class Job:
    """A run of a comparison."""

    method: str
    seed: int
    config: Config


def compare(
    config_of: Callable[[str, int], Config],
    methods: Sequence[str],
    seeds: Sequence[int],
    *,
    reference: str | None = None,
    left_out: Mapping[str, str] | None = None,
    run_dir: str | Path | None = None,
    address: str | None = None,
    parallel: int | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run methods over seeds, and write tables, pictures and data.

    Args:
        config_of: The config of a method and a seed.
        methods: Names, in the order of the table.
        seeds: Of the corpus split, selection, sampling and training.
        reference: What the others are compared with; see `reference_of`.
        left_out: Methods that cannot run, and why (`split_methods`); the table says so.
        run_dir: Folder or URI; the same folder resumes. By default `runs/compare-TIMESTAMP`.
        address: Of a Ray cluster.
        parallel: Runs side by side; by default as many as fit.
        verbose: Show Ray's own messages.
        quiet: Show nothing.

    Returns:
        The content of `comparison.json`.

    Raises:
        UserError: For anything that the user can mend.
    """
    folder = Storage.open(run_dir or layout.new_folder("compare"))
    if not methods or not seeds:
        raise ConfigError("compare needs at least one method and one seed")
    reference = reference_of(methods, reference)
    display = Display(quiet=quiet)
    jobs = [Job(name, seed, config_of(name, seed)) for name in methods for seed in seeds]
    store = folder.sub(layout.RESPONSES)
    with only_run_in(folder, display.say), only_user_of(store, folder, display.say):
        for job in jobs:
            adopt_comparison(folder, job.config)
            # before any run is paid; a run that is not complete looks at its students itself
            check_steps(folder.sub(layout.comparison_run(job.method, job.seed)), students=False)
        with connected(address, verbose=verbose) as cluster:
            check_storage_is_shared(folder)
            width = num_parallel_runs([job.config for job in jobs], cluster, len(jobs), parallel)
            display.say(f"{len(jobs)} runs ({width} at a time) in {folder.uri}")
            outcomes = (
                _one_by_one(jobs, folder, cluster, display)
                if width == 1
                else _side_by_side(jobs, folder, width, display)
            )
        write_comparison(folder, data := summarise(outcomes, reference, left_out))
        display.say_lines(markdown(data))
        display.say(
            f"written to {folder.uri}: comparison.md, .csv, .json, .svg, .png, and -trade.svg, .png"
        )
    return data


def split_methods(
    config_of: Callable[[str], Config], methods: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Split the methods into those that can run and those that cannot, with the reasons.

    Options of the user and of a preset may exclude each other: without gold answers, for example,
    no method can teach labels.
    """
    reasons: dict[str, str] = {}
    for method in methods:
        try:
            config_of(method)
        except ConfigError as error:
            reasons[method] = str(error)
    return tuple(method for method in methods if method not in reasons), reasons


def on_equal_terms(config: Config, staged: Config) -> Config:
    """Return a method's config for a comparison with a staged one.

    The last student gets as many optimiser steps as the staged one's (`equal_steps`): otherwise
    the comparison would favour staged methods by mere training. To save time, only the last
    student is evaluated, and on no benchmarks.
    """
    evaluation = config.evaluation.model_copy(
        update={"every_stage": False, "base_student": False, "benchmarks": ()}
    )
    return equal_steps(config, staged, any_start=True).model_copy(update={"evaluation": evaluation})


def _one_by_one(
    jobs: Sequence[Job], folder: Storage, cluster: Cluster, display: Display
) -> list[Outcome]:
    """Do runs after each other; they share their engines, which start once."""
    outcomes: list[Outcome] = []
    store = ResponseStore(folder.sub(layout.RESPONSES))
    engines: Engines | None = None
    with ExitStack() as running:
        for job in jobs:
            if engines is None or not engines.serves(job.config, store):
                running.close()
                engines = Engines(job.config, place(job.config, cluster), store)
                running.callback(engines.close)
            outcomes.append(_run_one(job, folder, store, engines))
            display.say(_line(outcomes[-1], len(outcomes), len(jobs)))
    return outcomes


def _side_by_side(
    jobs: Sequence[Job], folder: Storage, width: int, display: Display
) -> list[Outcome]:
    """Do several runs at a time, each in a Ray task with engines of its own.

    After a failure that the user must mend, runs under way are finished and no other is started.
    """
    remote = ray.remote(_run_one).options(num_cpus=1, max_retries=0)
    store = ResponseStore(folder.sub(layout.RESPONSES), start_in_flight())
    waiting = list(range(len(jobs)))
    running: dict[Any, int] = {}
    outcomes: dict[int, Outcome] = {}
    failures: list[UserError] = []
    while running or (waiting and not failures):
        while waiting and not failures and len(running) < width:
            number = waiting.pop(0)
            running[remote.remote(jobs[number], folder, store, None)] = number
        (done,), _ = ray.wait(list(running), num_returns=1)
        number = running.pop(done)
        try:
            outcomes[number] = result_of(done)
        except UserError as error:
            job = jobs[number]
            failures.append(UserError(f"{job.method}, seed {job.seed}: {error}"))
            display.say_lines(f"{failures[-1]}; {len(running)} runs under way are finished first")
            continue
        display.say(_line(outcomes[number], len(outcomes), len(jobs)))
    if failures:
        raise UserError(
            "\n".join(map(str, failures))
            + f"\n{len(outcomes)} of {len(jobs)} runs are complete; the same command goes on"
        )
    return [outcomes[number] for number in range(len(jobs))]


def _run_one(job: Job, folder: Storage, store: ResponseStore, engines: Engines | None) -> Outcome:
    storage = folder.sub(layout.comparison_run(job.method, job.seed))
    start = time.monotonic()
    if not _is_complete(storage, job.config):
        run(job.config, run_dir=storage.uri, store=store, engines=engines, quiet=True)
    metrics = storage.read_json(layout.METRICS)
    return Outcome(
        method=job.method,
        seed=job.seed,
        metrics=metrics,
        counts=corpus_counts(storage),
        reused=reused_from_other_runs(metrics["budget"], job.config.models_asked),
        seconds=time.monotonic() - start,
    )


def _is_complete(storage: Storage, config: Config) -> bool:
    return (
        storage.exists(layout.METRICS)
        and storage.exists(layout.CONFIG)
        and storage.read_text(layout.CONFIG) == dump_config(config)
    )


def _line(outcome: Outcome, done: int, total: int) -> str:
    macro, micro = (
        "-" if (value := outcome.metrics[name]) is None else f"{value:.3f}"
        for name in ("macro", "micro")
    )
    return (
        f"[{done}/{total}] {outcome.method}, seed {outcome.seed}: macro {macro}, "
        f"micro {micro} ({outcome.seconds:.0f} s)"
    )
