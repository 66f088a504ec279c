"""One stage of multi-stage balanced distillation, top to bottom (arXiv 2406.13114, section 3).

    errors     (policies that ask for them) its errors on real examples      student_errors.py
    plan       balance the stage's budget B_i over the domains                     core/budget.py
    scored     the current student answers candidates; its uncertainty is IFD      core/ifd.py
    selected   the highest scores of each head domain, all that is left of a tail  core/selection.py
    mistakes   (`tail.seeds: wrong` alone) what the student gets wrong       mistakes.py
    annotated  the teacher explains them, and writes new examples for the tail     annotate.py
    student    fine-tune the student on what was annotated                         train.py
    metrics    accuracy per domain, macro and micro                                core/metrics.py

Each line is one committed step: what was done is not done again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from baldistill.config import Config
from baldistill.core.metrics import Metrics
from baldistill.core.own_score import OwnScore
from baldistill.method.annotate import Annotation, annotate
from baldistill.method.context import Context
from baldistill.method.diversity import uses_diversity
from baldistill.method.earlier import unused_before
from baldistill.method.evaluate import evaluate_once
from baldistill.method.judgement import judged_by
from baldistill.method.mistakes import Mistakes, find_mistakes, seeds_are_wrong_ones
from baldistill.method.plan import StagePlan, StudentErrors, plan_stage
from baldistill.method.select import Scored, Selected, score_candidates, select, uses_metric
from baldistill.method.student_errors import ask_student, policy_of_stage
from baldistill.method.train import train_student
from baldistill.run_folder.caps import CAPS, caps_of_stage
from baldistill.run_folder.identity import PLACEMENT
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import Chain
from baldistill.student.training import TrainingResult


@dataclass(frozen=True, slots=True)
class StageResult:
    """The outcome of a stage.

    Attributes:
        trained: Whether it left a student. It leaves none where a cap of the budget left nothing
            to annotate: the student of the stage before is then the last one.
        metrics: The student's; None where it was not evaluated.
        cap: The cap of the budget that the stage reached; None for none.
    """

    trained: bool
    metrics: Metrics | None
    cap: str | None


def run_stage(context: Context, stage: int, chain: Chain) -> StageResult:
    """Run one stage.

    Args:
        context: The run.
        stage: From 1.
        chain: Stands in the stage's folder behind the last step of the stage before (behind the
            corpus, for the first); goes on to the last step of this stage.
    """
    config, say = context.config, context.display.say
    options, names = _Options(config, stage), StageLayout(stage)
    errors, plan = choose_examples(context, stage, chain)

    if seeds_are_wrong_ones(config, stage):
        mistakes = chain.step(
            "mistakes",
            options.answers(),
            lambda: find_mistakes(context, plan),
            Mistakes,
            writes=[names.mistakes],
        )
        say(f"  {mistakes.describe()}")
    caps = caps_of_stage(context.storage, stage, config.budget)
    annotated = chain.step(
        "annotated",
        options.annotation() | {"caps": caps},
        lambda: annotate(context, plan, errors, caps),
        Annotation,
        writes=names.annotation,
    )
    say(f"  annotated: {annotated.describe()}")
    if annotated.refused and not annotated.annotated and stage > 1:
        return StageResult(False, None, annotated.refused)

    training = config.student.model_dump(mode="json", exclude=PLACEMENT)
    key = chain.key_of("student", training)
    chain.step(
        "student",
        training,
        lambda: train_student(context, stage, cap=annotated.refused, key=key),
        TrainingResult,
        writes=[names.student],
    )
    context.storage.delete(names.checkpoint)
    if stage < config.stages and not config.evaluation.every_stage:
        return StageResult(True, None, annotated.refused)
    return StageResult(True, evaluate_stage(context, stage, chain), annotated.refused)


def choose_examples(context: Context, stage: int, chain: Chain) -> tuple[StudentErrors, StagePlan]:
    """Do the steps of a stage that come before its teacher is asked."""
    config, say = context.config, context.display.say
    options, names = _Options(config, stage), StageLayout(stage)

    errors = chain.step(
        "errors", options.errors(), lambda: ask_student(context, stage), StudentErrors
    )
    plan = chain.step(
        "plan",
        options.plan(),
        lambda: balance(context, stage, errors),
        StagePlan,
        writes=[names.plan],
    )
    say(f"stage {stage}/{config.stages}: {plan.describe()}")

    scored = chain.step(
        "scored",
        options.scores(),
        lambda: score_candidates(context, plan),
        Scored,
        writes=[names.scored],
    )
    if scored.undefined:
        chosen = config.selection
        say(f"  {scored.describe_undefined(chosen.metric_name, chosen.ceiling)}")
    selected = chain.step(
        "selected",
        options.selection(),
        lambda: select(context, plan),
        Selected,
        writes=[names.selected],
    )
    if selected.embedded:
        say(f"  {config.selection.diversity} chose among {selected.embedded:,} of the best")
    return errors, plan


def evaluate_stage(context: Context, stage: int, chain: Chain) -> Metrics:
    """Evaluate the student that the chain's last step trained."""
    evaluation = context.config.evaluation
    options = evaluation.model_dump(mode="json", exclude=set(evaluation.beside))
    options |= judged_by(context.config)
    return evaluate_once(context, stage, chain, options)


def balance(context: Context, stage: int, errors: StudentErrors) -> StagePlan:
    """Balance a stage over what earlier stages left of the corpus; writes `plan.json`."""
    counts = context.corpus.counts
    unused = unused_before(context.storage, stage, counts)
    policy = policy_of_stage(context, stage, errors)
    plan = plan_stage(context.config, counts, unused, stage, policy)
    context.storage.write_json(StageLayout(stage).plan, asdict(plan))
    return plan


_OF_DIVERSITY = {"diversity", "diversity_pool"}


@dataclass(frozen=True, slots=True)
class _Options:
    """All that decides each step of a stage besides the step before, as JSON values."""

    config: Config
    stage: int

    def errors(self) -> dict[str, Any]:
        return {"policy": asdict(self.config.budget.policy), "seed": self.config.seed}

    def answers(self) -> dict[str, Any]:
        student = self.config.student
        return {
            **student.asked,
            "response": student.response.model_dump(mode="json"),
            "tasks": [self.config.data.task, self.config.data.domain_tasks],
        }

    def plan(self) -> dict[str, Any]:
        budget = self.config.budget.model_dump(mode="json", exclude=set(CAPS))
        return {"budget": budget, "stages": self.config.stages}

    def scores(self) -> dict[str, Any]:
        config, student = self.config, self.config.student
        options: dict[str, Any] = {
            "seed": config.seed,
            "candidates": config.selection.candidates_per_quota,
        }
        if not uses_metric(config, self.stage):
            return options
        options |= {
            "metric": config.selection.model_dump(mode="json")["metric"],
            "model": student.model,
            **student.asked,
            "response": student.response.model_dump(mode="json"),
        }
        metric = config.selection.metric
        if metric in ("wrong", "disagreement") or isinstance(metric, OwnScore):
            options["tasks"] = [config.data.task, config.data.domain_tasks]
        # those that are not the default: folders of earlier versions know none of them
        return options | config.selection.model_dump(
            mode="json", include=set(config.selection.added) - _OF_DIVERSITY
        )

    def selection(self) -> dict[str, Any]:
        config = self.config
        if not uses_diversity(config, self.stage):
            return {}
        chosen = config.selection.model_dump(mode="json", include={*_OF_DIVERSITY, "by"})
        return chosen | {"seed": config.seed, "model": config.student.model, **config.student.asked}

    def annotation(self) -> dict[str, Any]:
        config = self.config
        options: dict[str, Any] = {
            "seed": config.seed,
            "teacher": [teacher.signature() for teacher in config.teacher.tiers],
            "rationale": config.rationale.model_dump(mode="json"),
            "tail": config.tail.model_dump(mode="json", exclude={"verifier"}),
            "target": config.student.target,
            "tasks": [config.data.task, config.data.domain_tasks],
        }
        if config.tail.verifier is not None:
            options["verifier"] = config.tail.verifier.signature()
        return options | judged_by(config)
