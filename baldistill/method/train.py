"""Train a stage's student on what was annotated."""

from __future__ import annotations

import ray

from baldistill.errors import UserError
from baldistill.method.context import Context
from baldistill.method.earlier import annotated_before, joined
from baldistill.progress.counter import Figures
from baldistill.run_folder.caps import option_of
from baldistill.run_folder.layout import StageLayout
from baldistill.student.checkpoints import Checkpoints
from baldistill.student.fine_tune import fine_tune
from baldistill.student.training import Progress, TrainingResult


def train_student(context: Context, stage: int, *, cap: str | None, key: str) -> TrainingResult:
    """Fine-tune on all that was annotated so far, or on this stage's batch alone.

    A training that was killed goes on from its last checkpoint; `key` is that of the stage's step,
    so that no other training does.

    Raises:
        UserError: Nothing was annotated.
    """
    config, storage, names = context.config, context.storage, StageLayout(stage)
    data = storage.read_table(names.annotated)
    if config.student.data == "cumulative":
        data = joined([annotated_before(storage, stage), data])
    if len(data) == 0:
        raise UserError(_nothing_to_train_on(stage, cap, storage.uri_of(names.rejected)))
    init = context.student(stage - 1 if config.student.init == "previous" else 0)
    context.engines.make_room()
    counter = context.counter

    def report(progress: Progress) -> None:  # runs in the process that trains
        note = None if progress.loss is None else f"loss {progress.loss:.3f}"
        figures = Figures(progress.step, note, progress.total_steps, progress.status)
        ray.get(counter.show.remote(figures))

    with context.display.remote_task("train (steps)", 0, counter):
        result = fine_tune(
            data,
            init=init,
            storage=storage,
            name=names.student,
            checkpoints=Checkpoints(storage, stage, key),
            prompts=context.student_prompts,
            config=config.student,
            seed=config.seed + stage,
            workers=context.workers,
            on_progress=report,
            tracking=names.tracking,
        )
        report(Progress(result.num_steps, result.num_steps, result.loss))
    if result.truncated or result.dropped:
        context.display.say(
            f"  {result.truncated} training examples were cut and {result.dropped} left out to "
            f"fit student.max_length={config.student.max_length}"
        )
    return result


def _nothing_to_train_on(stage: int, cap: str | None, rejected: str) -> str:
    if cap:
        return (
            f"stage {stage} has nothing to train on: {option_of(cap)} does not pay for a "
            "single accepted answer; raise it (`baldistill plan` says what a run needs)"
        )
    return (
        f"stage {stage} has nothing to train on: no answer of the teacher was accepted. See "
        f"{rejected} for what it wrote and why"
    )
