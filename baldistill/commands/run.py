"""The main job: a corpus, a teacher and a budget become a student, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baldistill.answers.store import ResponseStore
from baldistill.commands.inputs import prepare
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.core.metrics import Metrics, against_teacher
from baldistill.equality import NOT_COMPARED
from baldistill.method.benchmarks import ask_benchmarks, forgotten
from baldistill.method.context import Context
from baldistill.method.earlier import annotated_before
from baldistill.method.evaluate import (
    accuracy_table,
    evaluate_once,
    num_not_compared,
    told_left_out,
    whose_answers,
)
from baldistill.method.evaluation_answers import answer_evaluation_set
from baldistill.method.judgement import judged_by
from baldistill.method.plan import plan_all, plan_warnings, quota_table
from baldistill.method.stage import evaluate_stage, run_stage
from baldistill.method.teacher_evaluation import TeacherFigures, evaluate_teacher
from baldistill.placement.cluster import connected
from baldistill.placement.engines import Engines
from baldistill.placement.resources import Cluster, place
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.progress.display import Display
from baldistill.run_folder import layout
from baldistill.run_folder.caps import cap_reached
from baldistill.run_folder.identity import adopt_run
from baldistill.run_folder.integrity import check_steps
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.ledger_log import check_last_segment
from baldistill.run_folder.leftovers import remove_leftovers
from baldistill.run_folder.lock import check_still_held, only_run_in, only_user_of
from baldistill.run_folder.log import RunLog
from baldistill.run_folder.steps import Chain, is_committed
from baldistill.storage import Storage
from baldistill.student.benchmarks import check_benchmarks

OnStage = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        run_dir: Path or URI of the run folder.
        student: Folder of the final student; None where nothing was trained.
        metrics: The content of `metrics.json`.
    """

    run_dir: str
    student: str | None
    metrics: dict[str, Any]


@dataclass(slots=True)
class _Stages:
    """The stages that a run has done.

    Attributes:
        trained: Number of stages that trained a student.
        stopped_by: The cap of the budget that was reached first.
        metrics: Figures of each evaluated stage, by its name in `metrics.json`.
        teacher: Those of the teacher by itself, where it was asked.
        benchmarks: Those of public benchmarks, as they stand in `metrics.json`.
    """

    trained: int = 0
    stopped_by: str | None = None
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    teacher: TeacherFigures | None = None
    benchmarks: dict[str, Any] | None = None


def run(
    config: Config | None = None,
    *,
    run_dir: str | Path | None = None,
    address: str | None = None,
    store: str | Path | ResponseStore | None = None,
    engines: Engines | None = None,
    on_stage: OnStage | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Distil: prepare the corpus, then run the stages. Work that a killed run did is not repeated.

    Args:
        config: The built-in quickstart by default.
        run_dir: Folder or URI; the same folder resumes. By default `runs/NAME-TIMESTAMP`.
        address: Of a Ray cluster; RAY_ADDRESS, or a local Ray, by default.
        store: Folder or URI of teacher answers to share among runs, or the store itself; in the
            run folder by default.
        engines: Running engines to use, and to leave running; they must serve this config
            and store.
        on_stage: Called with the number and the metrics of each evaluated stage, also of stages
            that an earlier start of the run has done. An error that it raises ends the run, which
            can be resumed.
        verbose: Show Ray's own messages.
        quiet: Show nothing at all.

    Raises:
        UserError: For anything that the user can mend.
    """
    config = config or load_config()
    storage = Storage.open(run_dir or layout.new_folder(config.name))
    with opened_run(
        config, storage, address=address, store=store, engines=engines, verbose=verbose, quiet=quiet
    ) as (context, chain):
        stages = _run_stages(context, chain, on_stage)
        return _finish(context, stages)


@contextmanager
def opened_run(
    config: Config,
    storage: Storage,
    *,
    address: str | None = None,
    store: str | Path | ResponseStore | None = None,
    engines: Engines | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> Iterator[tuple[Context, Chain]]:
    """Hold a run's folder, with Ray, engines and corpus; give what its stages need.

    The arguments are those of `run`.

    Raises:
        UserError: The folder is in use, damaged or another config's, or something does not fit.
    """
    say = Display(quiet=quiet).say
    with (
        only_run_in(storage, say),
        _open_store(store, storage, say) as responses,
        RunLog(storage) as log,
    ):
        _check_benchmarks(storage, config)
        _adopt(storage, config, responses)
        display = Display(log, quiet=quiet)
        start = time.monotonic()
        display.say(f"run folder: {storage.uri}")
        _warn_of_two_owners(storage, display)
        with connected(address, verbose=verbose) as cluster:
            display.say(
                f"Ray: {cluster.num_cpus:g} CPUs, {cluster.num_gpus:g} GPUs "
                f"({time.monotonic() - start:.1f} s)"
            )
            check_storage_is_shared(storage)
            if store is not None:
                check_storage_is_shared(responses.storage, option="--store")
            with _engines_for(config, cluster, responses, engines) as running:
                if not storage.exists(layout.METRICS):
                    running.warm(display.say)
                context, chain = prepare(config, storage, responses, running, display)
                with closing(context):
                    yield context, chain
        display.say(f"done in {time.monotonic() - start:.0f} s")


def _check_benchmarks(storage: Storage, config: Config) -> None:
    """Check the tasks of lm-eval, unless the base student has answered them."""
    if not is_committed(storage, StageLayout(0).step("benchmarks")):
        check_benchmarks(config.evaluation.benchmarks)


def _adopt(storage: Storage, config: Config, responses: ResponseStore) -> None:
    """Make a folder this run's, if all that is committed in it is whole and decided by its config.

    Raises:
        UserError: Something is damaged, or was decided by another config.
    """
    remove_leftovers(storage)
    check_steps(storage)
    check_last_segment(storage)
    adopt_run(storage, config, responses.storage.uri)


def _warn_of_two_owners(storage: Storage, display: Display) -> None:
    if not storage.is_local and not storage.creates_once():
        display.say(
            "  warning: this storage cannot write a file only if its name is free. Should this "
            "run be suspended for over a minute and another take its folder, both would go on"
        )


@contextmanager
def _open_store(
    store: str | Path | ResponseStore | None, storage: Storage, say: Callable[[str], None]
) -> Iterator[ResponseStore]:
    """Open the store of answers; a store that the caller opened is the caller's to hold."""
    if isinstance(store, ResponseStore):
        yield store
        return
    opened = Storage.open(store) if store else storage.sub(layout.RESPONSES)
    with only_user_of(opened, storage, say):
        yield ResponseStore(opened)


def _engines_for(
    config: Config, cluster: Cluster, responses: ResponseStore, engines: Engines | None
) -> AbstractContextManager[Engines]:
    """Use the caller's engines, or engines of this run that end with it."""
    if engines is None:
        return closing(Engines(config, place(config, cluster), responses))
    assert engines.serves(config, responses)
    return nullcontext(engines)


def _run_stages(context: Context, chain: Chain, on_stage: OnStage | None) -> _Stages:
    """Run every stage on what the stage before left, until the budget or a cap ends the run."""
    config, display = context.config, context.display
    num_stages = config.stages if config.budget.total > 0 else 0
    _show_plan(context, num_stages)
    stages, corpus = _Stages(), chain
    answer_evaluation_set(context, chain)
    if config.evaluation.base_student or num_stages == 0:
        stages.metrics["base"] = _evaluate_base(context, chain).to_dict()
    before_any = ask_benchmarks(context, 0, Chain(context.storage))
    last = chain
    for stage in range(1, num_stages + 1):
        before, chain = chain, chain.branch(StageLayout(stage).folder)
        result = run_stage(context, stage, chain)
        stages.stopped_by = stages.stopped_by or result.cap
        if not result.trained:
            display.say(f"the run ends with the student of stage {stages.trained}")
            if f"stage {stages.trained}" not in stages.metrics:
                metrics = evaluate_stage(context, stages.trained, before)
                stages.metrics[f"stage {stages.trained}"] = metrics.to_dict()
            break
        stages.trained, last = stage, chain
        if result.metrics is not None:
            stages.metrics[f"stage {stage}"] = figures = result.metrics.to_dict()
            by_teacher = config.evaluation.gold == "teacher"
            display.show(
                accuracy_table(context.corpus.counts, stages.metrics, by_teacher=by_teacher)
            )
            if on_stage is not None:
                on_stage(stage, figures)
    if before_any is not None:
        stages.benchmarks = forgotten(context, stages.trained, before_any, last)
    if config.evaluation.teacher:
        stages.teacher = evaluate_teacher(context, corpus)
        if stages.teacher.metrics is not None:
            beside = stages.metrics | {"teacher": stages.teacher.to_dict()}
            display.show(accuracy_table(context.corpus.counts, beside))
    return stages


def _show_plan(context: Context, num_stages: int) -> None:
    """Show the quotas of the first and the last stages, and what is doubtful about them."""
    counts = context.corpus.counts
    plans = plan_all(context.config, counts) if num_stages else []
    if plans:
        shown = plans if len(plans) <= 6 else [*plans[:3], *plans[-3:]]
        context.display.show(quota_table(shown, counts, rows=16))
    for warning in plan_warnings(context.config, plans, context.recorded):
        context.display.say(f"  warning: {warning}")


def _evaluate_base(context: Context, chain: Chain) -> Metrics:
    """Evaluate the student before any training, once."""
    student = context.config.student
    options = {"student": student.model, **student.asked} | judged_by(context.config)
    base = chain.branch(StageLayout(0).folder)
    return evaluate_once(context, 0, base, options)


def _finish(context: Context, stages: _Stages) -> RunResult:
    """Write `metrics.json`, and say what was spent and reached."""
    storage, display = context.storage, context.display
    spent = context.spending()
    annotated = len(annotated_before(storage, stages.trained + 1))
    spent["annotated"] = annotated
    spent["stopped_by"] = stages.stopped_by
    spent["short_of_budget"] = short = max(0, context.config.budget.total - annotated)
    final = list(stages.metrics.values())[-1]
    undecided = num_not_compared(context, stages.trained)
    metrics = {**final, "not_compared": undecided, "stages": stages.metrics, "budget": spent}
    metrics |= whose_answers(context.config)
    if stages.teacher is not None:
        metrics["teacher"] = stages.teacher.to_dict()
    if stages.benchmarks is not None:
        metrics["benchmarks"] = stages.benchmarks
    check_still_held(storage)
    storage.write_json(layout.METRICS, metrics)
    student = storage.uri_of(context.student(stages.trained).name) if stages.trained else None
    total = spent["total"]
    display.say(
        f"teacher: {total['calls']:,} calls, {total['reused']:,} answers reused, "
        f"{total['prompt_tokens'] + total['completion_tokens']:,} tokens; "
        f"{annotated:,} of {context.config.budget.total:,} examples of the budget"
        + (f"; cost {total['cost']:,.4g}" if total["cost"] else "")
    )
    if short:
        why = cap_reached(stages.stopped_by) if stages.stopped_by else "this corpus gave no more"
        display.say(f"{short:,} examples short of the budget: {why}")
    elif stages.stopped_by:
        display.say(cap_reached(stages.stopped_by))
    measured = f"{against_teacher('accuracy')}: " * (context.config.evaluation.gold == "teacher")
    display.say(
        f"{measured}macro {_figure(final['macro'])}  micro {_figure(final['micro'])}  "
        f"head {_figure(final['head'])}  tail {_figure(final['tail'])}"
    )
    if left_out := final.get("left_out"):
        display.say(told_left_out(left_out))
    if undecided:
        display.say(f"{undecided:,} answers were {NOT_COMPARED}, and count as wrong")
    if student:
        display.say(f"student: {student}")
    display.say(f"run folder: {storage.uri} (stages/, metrics.json, quarantine/, ledger/, log.txt)")
    return RunResult(storage.uri, student, metrics)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
