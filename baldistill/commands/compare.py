"""`baldistill compare`: the paper's tables 2 and 3 for any corpus.

Every method is a preset of the same config and runs through the same code at the same budget.
All runs share one store of the teacher's answers, so a call that two methods need is paid once;
of two runs side by side that want it at the same moment, one waits for the other's answer.
A run that is complete is not made again, so a comparison that was stopped goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from baldistill.report.comparison import Outcome, write_comparison
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.teacher.in_flight import start_in_flight
from baldistill.teacher.shared import from_other_runs


def compare(
    config_of: Callable[[str, int], Config],
    methods: Sequence[str],
    seeds: Sequence[int],
    *,
    run_dir: str | Path | None = None,
    address: str | None = None,
    parallel: int | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run methods over seeds, and write table, figure and data.

    Args:
        config_of: The config of a method and a seed.
        methods: Names, in the order of the table.
        seeds: Of corpus split, selection, sampling and training.
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
    display = Display(quiet=quiet)
    jobs = [(method, seed, config_of(method, seed)) for method in methods for seed in seeds]
    for _, _, config in jobs:
        _claim(folder, config)
    with connected(address, verbose=verbose) as cluster:
        check_storage_is_shared(folder)
        width = num_parallel_runs([config for *_, config in jobs], cluster, len(jobs), parallel)
        display.say(f"{len(jobs)} runs ({width} at a time) in {folder.uri}")
        outcomes = (
            _one_by_one(jobs, folder, cluster, display)
            if width == 1
            else _together(jobs, folder, width, display)
        )
    table = write_comparison(folder, outcomes)
    display.say(table.markdown)
    display.say(f"written to {folder.uri}: comparison.md, .csv, .json, .svg, .png")
    return table.data


def on_equal_terms(config: Config, staged: Config) -> Config:
    """A method's config for a comparison with a staged one.

    Its last student has as many optimiser steps behind it (`equal_steps`): a comparison would
    otherwise favour the staged methods by mere training. Only that student is evaluated, which
    saves time.
    """
    evaluation = config.evaluation.model_copy(update={"every_stage": False, "base_student": False})
    return equal_steps(config, staged).model_copy(update={"evaluation": evaluation})


def _one_by_one(
    jobs: Sequence[tuple[str, int, Config]], folder: Storage, cluster: Cluster, display: Display
) -> list[Outcome]:
    """Runs after each other; they share their engines, which start once."""
    outcomes: list[Outcome] = []
    store = ResponseStore(folder.sub(layout.RESPONSES))
    engines: Engines | None = None
    try:
        for method, seed, config in jobs:
            if engines is None or not engines.serves(config, store):
                if engines is not None:
                    engines.close()
                engines = Engines(config, place(config, cluster), store)
            outcomes.append(_run_one(method, seed, config, folder, store, engines))
            display.say(_line(outcomes[-1], len(outcomes), len(jobs)))
    finally:
        if engines is not None:
            engines.close()
    return outcomes


def _together(
    jobs: Sequence[tuple[str, int, Config]], folder: Storage, width: int, display: Display
) -> list[Outcome]:
    """Runs side by side, each driven by a Ray task with engines of its own.

    After one that the user must mend, those under way are finished and no other is started.
    """
    remote = ray.remote(_run_one).options(num_cpus=1, max_retries=0)
    store = ResponseStore(folder.sub(layout.RESPONSES), start_in_flight())
    waiting = list(enumerate(jobs))
    running: dict[Any, int] = {}
    outcomes: dict[int, Outcome] = {}
    failures: list[UserError] = []
    while running or (waiting and not failures):
        while waiting and not failures and len(running) < width:
            number, (method, seed, config) = waiting.pop(0)
            running[remote.remote(method, seed, config, folder, store, None)] = number
        (done,), _ = ray.wait(list(running), num_returns=1)
        number = running.pop(done)
        try:
            outcomes[number] = result_of(done)
        except UserError as error:
            method, seed, _ = jobs[number]
            failures.append(UserError(f"{method}, seed {seed}: {error}"))
            display.say(f"{failures[-1]}; {len(running)} runs under way are finished first")
            continue
        display.say(_line(outcomes[number], len(outcomes), len(jobs)))
    if failures:
        raise UserError(
            "\n".join(map(str, failures))
            + f"\n{len(outcomes)} of {len(jobs)} runs are complete; the same command goes on"
        )
    return [outcomes[number] for number in range(len(jobs))]


def _run_one(
    method: str,
    seed: int,
    config: Config,
    folder: Storage,
    store: ResponseStore,
    engines: Engines | None,
) -> Outcome:
    place_of_run = folder.sub(layout.comparison_run(method, seed))
    start = time.monotonic()
    if not _is_complete(place_of_run, config):
        run(
            config,
            run_dir=place_of_run.uri,
            store=store,
            engines=engines,
            quiet=True,
        )
    corpus = place_of_run.read_json(layout.marker(layout.CORPUS_STEP))["figures"]
    metrics = place_of_run.read_json(layout.METRICS)
    return Outcome(
        method=method,
        seed=seed,
        metrics=metrics,
        counts=corpus["counts"],
        reused=from_other_runs(metrics["budget"], config.teacher.tiers),
        seconds=time.monotonic() - start,
    )


def _is_complete(place_of_run: Storage, config: Config) -> bool:
    return (
        place_of_run.exists(layout.METRICS)
        and place_of_run.exists(layout.CONFIG)
        and place_of_run.read_text(layout.CONFIG) == dump_config(config)
    )


def _claim(folder: Storage, config: Config) -> None:
    """The runs of a folder may differ in method and seed, not in corpus or models."""
    mine = {
        "data": config.data.model_dump(mode="json"),
        "teacher": [teacher.signature() for teacher in config.teacher.tiers],
        "student": config.student.model,
    }
    if not folder.exists(layout.SUBJECT):
        folder.write_json(layout.SUBJECT, mine)
    elif folder.read_json(layout.SUBJECT) != mine:
        raise ConfigError(
            f"{folder.uri} holds a comparison on another corpus, teacher or student: use "
            "another --out"
        )


def _line(outcome: Outcome, done: int, total: int) -> str:
    metrics = outcome.metrics
    return (
        f"[{done}/{total}] {outcome.method}, seed {outcome.seed}: macro {metrics['macro']:.3f}, "
        f"micro {metrics['micro']:.3f} ({outcome.seconds:.0f} s)"
    )
