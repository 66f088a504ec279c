"""One stage of multi-stage balanced distillation, top to bottom (arXiv 2406.13114, section 3).

    ask       (policy `errors` alone) the student's errors on real examples       evaluate.py
    quotas    balance the stage's budget B_i over the domains                     core/budget.py
    score     the current student answers candidates; its uncertainty is IFD      core/ifd.py
    select    the highest scores of each head domain, all that is left of a tail  core/selection.py
    annotate  the teacher explains them, and writes new examples for the tail     teacher/
    train     fine-tune the student on what was annotated                         student/
    evaluate  accuracy per domain, macro and micro                                core/metrics.py

Each line is one committed step: what was done is not done again.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from baldistill.core.policies import Asked, Errors, MeasuredErrors, Policy
from baldistill.errors import UserError
from baldistill.method.annotate import annotate
from baldistill.method.context import Context
from baldistill.method.evaluate import evaluate, student_errors
from baldistill.method.plan import StagePlan, plan_stage
from baldistill.method.select import score_candidates, select, uses_metric
from baldistill.progress.counter import Figures
from baldistill.run_folder.identity import CAPS, PLACEMENT, caps_of
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import Step, commit
from baldistill.student.fine_tune import fine_tune
from baldistill.student.train import Progress

CAP_KEYS = {"examples": "total", "calls": "calls", "tokens": "tokens", "cost": "cost"}
"""The key in `budget` of each cap of the ledger."""


def run_stage(context: Context, stage: int, before: Step) -> Step | None:
    """Run one stage.

    Where a cap of the budget leaves nothing to annotate the stage ends there, without a student:
    that of the stage before is the last one.

    Args:
        context: The run.
        stage: From 1.
        before: The last step of the stage before (the corpus, for the first).

    Returns:
        The stage's last step; its figures are the metrics where it was evaluated. None where a
        cap left nothing to annotate.
    """
    config, names = context.config, StageLayout(stage)
    asked = commit(
        context.storage,
        names.step("errors"),
        inputs=(before,),
        options={"policy": asdict(config.budget.policy), "seed": config.seed},
        make=lambda: ask_student(context, stage),
    )
    plan = balance(context, stage, asked.figures)
    context.display.say(f"stage {stage}/{config.stages}: {describe(plan)}")

    planned = commit(
        context.storage,
        names.step("plan"),
        inputs=(asked,),
        options={
            "budget": config.budget.model_dump(mode="json", exclude=set(CAPS)),
            "stages": config.stages,
        },
        make=lambda: _write_plan(context, plan),
    )
    scored = commit(
        context.storage,
        names.step("scored"),
        inputs=(planned,),
        options=_scoring_options(context, stage),
        make=lambda: score_candidates(context, plan),
    )
    if scored.figures["undefined"]:
        context.display.say(f"  {describe_undefined(scored.figures, config.selection.metric)}")
    selected = commit(
        context.storage,
        names.step("selected"),
        inputs=(scored,),
        options={},
        make=lambda: select(context, plan),
    )
    caps = caps_of(context.storage, stage, config.budget)
    annotated = commit(
        context.storage,
        names.step("annotated"),
        inputs=(selected,),
        options=_annotation_options(context) | {"caps": caps},
        make=lambda: {**annotate(context, plan), "caps": caps},
    )
    context.display.say(f"  annotated: {_describe_annotation(annotated.figures)}")
    context.stopped_by = context.stopped_by or annotated.figures["refused"]
    if annotated.figures["refused"] and not annotated.figures["annotated"] and stage > 1:
        return None
    trained = commit(
        context.storage,
        names.step("student"),
        inputs=(annotated,),
        options=config.student.model_dump(mode="json", exclude=PLACEMENT),
        make=lambda: train_student(context, stage),
    )
    if stage < config.stages and not config.evaluation.every_stage:
        return trained
    return examine(context, stage, trained)


def examine(context: Context, stage: int, trained: Step) -> Step:
    """Evaluate a stage's student."""
    return commit(
        context.storage,
        StageLayout(stage).step("metrics"),
        inputs=(trained,),
        options=context.config.evaluation.model_dump(mode="json"),
        make=lambda: evaluate(context, stage),
    )


def ask_student(context: Context, stage: int) -> dict[str, Any]:
    """What the `errors` policy wants to know: the last student's errors on real examples."""
    policy = context.config.budget.policy
    if not isinstance(policy, Errors) or stage == 1:
        return {}
    answers = student_errors(context, stage - 1, policy.questions)
    return {domain: list(asked) for domain, asked in sorted(answers.items())}


def balance(context: Context, stage: int, answers: dict[str, Any]) -> StagePlan:
    """Quotas of a stage from what earlier stages left in the pool, and what was asked."""
    policy: Policy = context.config.budget.policy
    if isinstance(policy, Errors) and answers:
        asked = {domain: Asked(*counts) for domain, counts in answers.items()}
        policy = MeasuredErrors(policy.floor, asked)
    unused = dict(context.corpus.counts)
    for earlier, table in context.each_annotated(stage):
        real = table.filter(pc.equal(table["source"], "real"))
        for domain in real["domain"].to_pylist():
            unused[domain] -= 1
        for domain in context.storage.read_json(StageLayout(earlier).dropped).values():
            unused[domain] -= 1
    return plan_stage(context.config, context.corpus.counts, unused, stage, policy)


def train_student(context: Context, stage: int) -> dict[str, Any]:
    """Fine-tune on all that was annotated so far, or on this stage's batch alone."""
    config = context.config
    batch = context.storage.read_table(StageLayout(stage).annotated)
    before = context.annotated_before(stage) if config.student.data == "cumulative" else None
    data = pa.concat_tables([before, batch]) if before is not None else batch
    if len(data) == 0:
        if context.stopped_by:
            raise UserError(
                f"stage {stage} has nothing to train on: budget.{CAP_KEYS[context.stopped_by]} "
                "does not pay for a single accepted answer; raise it (`baldistill plan` says what "
                "a run needs)"
            )
        rejected = context.storage.uri_of(StageLayout(stage).rejected)
        raise UserError(
            f"stage {stage} has nothing to train on: no answer of the teacher was accepted. See "
            f"{rejected} for what it wrote and why"
        )
    init = context.student(stage - 1 if config.student.init == "previous" else 0)
    context.engines.make_room()
    counter = context.counter

    def tell(progress: Progress) -> None:  # by the process that trains, here or elsewhere
        note = None if progress.loss is None else f"loss {progress.loss:.3f}"
        figures = Figures(progress.step, note, progress.total_steps, progress.status)
        ray.get(counter.show.remote(figures))

    with context.display.remote_task("train (steps)", 0, counter):
        result = fine_tune(
            data,
            init=init,
            storage=context.storage,
            name=StageLayout(stage).student,
            prompts=context.student_prompts,
            config=config.student,
            seed=config.seed + stage,
            num_workers=context.engines.placement.num_workers,
            worker=context.engines.placement.worker,
            on_progress=tell,
        )
        tell(Progress(result.num_steps, result.num_steps, result.loss))
    if result.truncated or result.dropped:
        context.display.say(
            f"  {result.truncated} training examples were cut and {result.dropped} left out to "
            f"fit student.max_length={config.student.max_length}"
        )
    return asdict(result)


def describe(plan: StagePlan) -> str:
    """One line about a stage's quotas."""
    new = sum(tail.synthetic for tail in plan.tail.values())
    real = sum(tail.real for tail in plan.tail.values())
    return (
        f"{plan.budget} examples: {sum(plan.head.values())} selected in {len(plan.head)} head "
        f"domains, {real} real + {new} new in {len(plan.tail)} tail domains"
    )


def describe_undefined(figures: dict[str, Any], metric: str) -> str:
    """One line about the candidates that could not be scored."""
    return (
        f"{figures['undefined']:,} of {figures['scored']:,} candidates have no {metric} (the "
        "student's answer is empty or one token): they rank last"
    )


def _describe_annotation(figures: dict[str, Any]) -> str:
    sources = ", ".join(f"{count} {source}" for source, count in figures["by_source"].items())
    rejected = ", ".join(f"{count} {reason}" for reason, count in figures["rejected"].items())
    text = f"{figures['annotated']}/{figures['budget']} ({sources})"
    text += f"; rejected: {rejected}" if rejected else ""
    text += f"; ran dry: {', '.join(figures['dry'])}" if figures["dry"] else ""
    return text + (f"; {cap_reached(figures['refused'])}" if figures["refused"] else "")


def cap_reached(cap: str) -> str:
    """Which cap of the budget was reached, in words."""
    return f"the cap on {cap} was reached (budget.{CAP_KEYS[cap]})"


def _write_plan(context: Context, plan: StagePlan) -> dict[str, Any]:
    context.storage.write_json(StageLayout(plan.stage).plan, plan.to_dict())
    return {"quotas": plan.quotas}


def _scoring_options(context: Context, stage: int) -> dict[str, Any]:
    config = context.config
    options = {"seed": config.seed, "candidates": config.selection.candidates_per_quota}
    if not uses_metric(context, stage):
        return options
    student = config.student
    return options | {
        "metric": config.selection.metric,
        "model": student.model,
        "prompts": student.prompts,
        "response": student.response.model_dump(mode="json"),
    }


def _annotation_options(context: Context) -> dict[str, Any]:
    config = context.config
    return {
        "seed": config.seed,
        "teacher": [teacher.signature() for teacher in config.teacher.tiers],
        "rationale": config.rationale.model_dump(mode="json"),
        "tail": config.tail.model_dump(mode="json"),
        "target": config.student.target,
        "tasks": [config.data.task, config.data.domain_tasks],
    }
