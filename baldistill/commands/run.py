"""The main job: a corpus, a teacher and a budget become a student, stage by stage."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from baldistill.answers.store import ResponseStore
from baldistill.config import Config, DataConfig
from baldistill.config.loading import load_config
from baldistill.core.metrics import Metrics
from baldistill.data.labels import label_sets
from baldistill.data.prepare import prepare_corpus
from baldistill.data.summary import CorpusSummary
from baldistill.errors import MissingPackageError
from baldistill.generation.replay import check_recording
from baldistill.method.context import Context
from baldistill.method.earlier import annotated_before
from baldistill.method.evaluate import accuracy_table, evaluate
from baldistill.method.plan import plan_all, quota_table, teacher_warnings
from baldistill.method.stage import evaluate_stage, run_stage
from baldistill.placement.cluster import connected
from baldistill.placement.engines import Engines
from baldistill.placement.resources import place
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.progress.counter import start_counter
from baldistill.progress.display import Display
from baldistill.run_folder import layout
from baldistill.run_folder.caps import cap_reached
from baldistill.run_folder.identity import adopt_run
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.lock import only_run_in
from baldistill.run_folder.log import RunLog
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage
from baldistill.teacher.prompts import load_prompts


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run leaves.

    Attributes:
        run_dir: Path or URI of the run folder.
        student: Folder of the final student; None where nothing was trained.
        metrics: The content of `metrics.json`.
    """

    run_dir: str
    student: str | None
    metrics: dict[str, Any]


def run(
    config: Config | None = None,
    *,
    run_dir: str | Path | None = None,
    address: str | None = None,
    store: str | Path | ResponseStore | None = None,
    engines: Engines | None = None,
    on_stage: Callable[[int, dict[str, Any]], None] | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Distil: prepare the corpus, then run the stages; what a killed run did is not done again.

    Args:
        config: The built-in quickstart by default.
        run_dir: Folder or URI; the same folder resumes. By default `runs/NAME-TIMESTAMP`.
        address: Of a Ray cluster; RAY_ADDRESS, or a local Ray, by default.
        store: Folder or URI of the teacher's answers, to share among runs, or the store itself;
            in the run folder by default.
        engines: Running engines to use, and to leave running; they must serve this config
            and store.
        on_stage: Told the number and the metrics of each evaluated stage, also of those that an
            earlier start of the run has done. What it raises ends the run, which can be resumed.
        verbose: Show Ray's own messages.
        quiet: Show nothing at all.

    Raises:
        UserError: For anything that the user can mend.
    """
    config = config or load_config()
    storage = Storage.open(run_dir or layout.new_folder(config.name))
    with only_run_in(storage, Display(quiet=quiet).say), RunLog(storage) as log:
        responses = _responses(storage, store)
        adopt_run(storage, config, responses.storage.uri)
        display = Display(log, quiet=quiet)
        start = time.monotonic()
        display.say(f"run folder: {storage.uri}")
        with connected(address, verbose=verbose) as cluster:
            display.say(
                f"Ray: {cluster.num_cpus:g} CPUs, {cluster.num_gpus:g} GPUs "
                f"({time.monotonic() - start:.1f} s)"
            )
            check_storage_is_shared(storage)
            own = engines or Engines(config, place(config, cluster), responses)
            assert own.serves(config, responses)
            try:
                if not storage.exists(layout.METRICS):
                    own.warm(display.say)
                context, chain = prepare(config, storage, responses, own, display)
                result = _run_stages(context, chain, on_stage or _ignore)
            finally:
                if engines is None:
                    own.close()
        display.say(f"done in {time.monotonic() - start:.0f} s")
        return result


def _responses(storage: Storage, store: str | Path | ResponseStore | None) -> ResponseStore:
    if isinstance(store, ResponseStore):
        return store
    return ResponseStore(Storage.open(store) if store else storage.sub(layout.RESPONSES))


def _run_stages(
    context: Context, chain: Chain, on_stage: Callable[[int, dict[str, Any]], None]
) -> RunResult:
    """The method: every stage on what the stage before left."""
    config, display = context.config, context.display
    stopped_by: str | None = None
    try:
        stages: dict[str, dict[str, Any]] = {}
        num_stages = config.stages if config.budget.total > 0 else 0
        planned = plan_all(config, context.corpus.counts) if num_stages else []
        if planned:
            shown = planned if len(planned) <= 6 else [*planned[:3], *planned[-3:]]
            display.show(quota_table(shown, context.corpus.counts, rows=16))
        for warning in teacher_warnings(config, planned):
            display.say(f"  warning: {warning}")
        if config.evaluation.base_student or num_stages == 0:
            options = {"student": config.student.model, "prompts": config.student.prompts}
            base = chain.branch(StageLayout(0).folder)
            metrics = base.step("metrics", options, lambda: evaluate(context, 0), Metrics)
            stages["base"] = metrics.to_dict()
        for stage in range(1, num_stages + 1):
            before, chain = chain, chain.branch(StageLayout(stage).folder)
            result = run_stage(context, stage, chain)
            stopped_by = stopped_by or result.cap
            if not result.trained:
                num_stages = stage - 1
                display.say(f"the run ends with the student of stage {num_stages}")
                if f"stage {num_stages}" not in stages:
                    last = evaluate_stage(context, num_stages, before)
                    stages[f"stage {num_stages}"] = last.to_dict()
                break
            if result.metrics is not None:
                stages[f"stage {stage}"] = result.metrics.to_dict()
                display.show(accuracy_table(context.corpus.counts, stages))
                on_stage(stage, stages[f"stage {stage}"])
        return _finish(context, stages, num_stages, stopped_by)
    finally:
        context.close()


def prepare(
    config: Config, storage: Storage, responses: ResponseStore, engines: Engines, display: Display
) -> tuple[Context, Chain]:
    """Validate prompts and corpus, and put together what the stages need."""
    student_prompts = load_prompts(config.student.prompts, model=config.student.model)
    teacher_prompts = tuple(load_prompts(t.prompts, model=t.model) for t in config.teacher.tiers)
    check_teachers(config)
    chain, corpus = validated_corpus(config, storage, display)
    labels = label_sets(config, corpus.counts, storage)

    context = Context(
        config=config,
        storage=storage,
        corpus=corpus,
        engines=engines,
        responses=responses,
        student_prompts=student_prompts.with_labels(labels),
        teacher_prompts=tuple(prompts.with_labels(labels) for prompts in teacher_prompts),
        display=display,
        counter=start_counter(),
    )
    return context, chain


def check_teachers(config: Config) -> None:
    """What can be known of the teachers before the corpus is read.

    Raises:
        UserError: A recording is not there, or not as described.
    """
    for tier in config.teacher.tiers:
        if tier.kind == "replay":
            check_recording(tier)


def _check_packages(data: DataConfig) -> None:
    """Answers are compared only after the teacher was paid: tell before what that needs."""
    is_math = "math" in (data.task, *data.domain_tasks.values())
    if is_math and importlib.util.find_spec("math_verify") is None:
        raise MissingPackageError(
            "data.task or data.domain_tasks is math, and comparing mathematical answers needs "
            "math-verify: pip install 'baldistill[math]'"
        )


def validated_corpus(
    config: Config, storage: Storage, display: Display
) -> tuple[Chain, CorpusSummary]:
    """Read, validate and split the corpus, once; it is the first step of the chain.

    Raises:
        MissingPackageError: Its answers could not be compared.
        DataError: It cannot be used.
    """
    _check_packages(config.data)
    display.say("reading the corpus ...")
    chain = Chain(storage)
    corpus = chain.step(
        layout.CORPUS_STEP,
        {"data": config.data.model_dump(mode="json"), "seed": config.seed},
        lambda: prepare_corpus(
            config.data, config.seed, storage, partial(display.task, brief=True)
        ),
        CorpusSummary,
    )
    display.say(
        f"corpus: {sum(corpus.counts.values()):,} examples in {len(corpus.counts)} domains, "
        f"{sum(corpus.evaluation_counts.values()):,} to evaluate on, "
        f"{sum(corpus.quarantined.values()):,} rows in quarantine ({chain.seconds:.1f} s)"
    )
    for warning in corpus.warnings:
        display.say(f"  warning: {warning}")
    return chain, corpus


def _finish(
    context: Context,
    stages: dict[str, dict[str, Any]],
    num_stages: int,
    stopped_by: str | None,
) -> RunResult:
    storage, display = context.storage, context.display
    spent = context.spending()
    annotated = len(annotated_before(storage, num_stages + 1))
    spent["annotated"] = annotated
    spent["stopped_by"] = stopped_by
    final = list(stages.values())[-1]
    metrics = {**final, "stages": stages, "budget": spent}
    storage.write_json(layout.METRICS, metrics)
    student = storage.uri_of(context.student(num_stages).name) if num_stages else None
    total = spent["total"]
    display.say(
        f"teacher: {total['calls']:,} calls, {total['reused']:,} answers reused, "
        f"{total['prompt_tokens'] + total['completion_tokens']:,} tokens; "
        f"{annotated:,} of {context.config.budget.total:,} examples of the budget"
        + (f"; cost {total['cost']:,.4g}" if total["cost"] else "")
    )
    if stopped_by:
        display.say(cap_reached(stopped_by))
    display.say(
        f"macro {final['macro']:.3f}  micro {final['micro']:.3f}  "
        f"head {_figure(final['head'])}  tail {_figure(final['tail'])}"
    )
    if student:
        display.say(f"student: {student}")
    display.say(f"run folder: {storage.uri} (stages/, metrics.json, quarantine/, ledger/, log.txt)")
    return RunResult(storage.uri, student, metrics)


def _ignore(stage: int, metrics: dict[str, Any]) -> None:
    """For callers that wait for the end."""


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
