"""Fine-tune the student through Ray Train; each worker runs `train.py`.

torch and transformers take 3 s to import. So the process that trains imports them, when it trains:
this file is also imported by drivers whose workers train, and by the controller of Ray Train.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.train
from ray.exceptions import RayActorError

from baldistill.config import StudentConfig
from baldistill.core.domain_weights import row_weights
from baldistill.errors import UserError
from baldistill.generation.types import ModelRef
from baldistill.processes import import_transformers, without_collector
from baldistill.ray_patches import lost_worker_errors
from baldistill.storage import Storage
from baldistill.student.checkpoints import Checkpoints, Found
from baldistill.student.lessons import lesson_of
from baldistill.student.tracking import is_tracked, tracking
from baldistill.student.training import Progress, TrainingResult
from baldistill.student.workers import Workers
from baldistill.teacher.prompts import PromptSet

_ATTEMPTS = 3  # of a training that loses workers, as by preemption, before its next checkpoint


@dataclass(frozen=True, slots=True)
class _Work:
    """Everything that a worker needs to train; see `fine_tune`."""

    annotated: ray.ObjectRef[pa.Table]
    init: ModelRef
    storage: Storage
    name: str
    prompts: PromptSet
    config: StudentConfig
    seed: int
    on_progress: Callable[[Progress], None] | None
    is_local: bool
    checkpoints: Checkpoints | None
    tracking: str | None
    resume: Found | None = None


def fine_tune(
    annotated: pa.Table,
    *,
    init: ModelRef,
    storage: Storage,
    name: str,
    prompts: PromptSet,
    config: StudentConfig,
    seed: int,
    workers: Workers,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoints: Checkpoints | None = None,
    tracking: str | None = None,
) -> TrainingResult:
    """Train on annotated examples and leave the student at `name` in the storage.

    `annotated` are rows of `records.ANNOTATED`; at most B of them, so they travel whole. Without
    workers this process trains, which saves some 15 s a stage. The process that trains calls
    `on_progress`. With workers, worker 0 calls a copy of it, and this process calls it when it
    starts the workers. A training of the same rows that was killed goes on from the last of its
    `checkpoints`. Trackers write to the folder `tracking` of the storage.

    Raises:
        UserError: As `train` raises it.
    """
    columns = ["domain", "question", "answer", "rationale", "context"]
    rows = annotated.select([name for name in columns if name in annotated.column_names])
    work = _Work(
        annotated=ray.put(rows),
        init=init,
        storage=storage,
        name=name,
        prompts=prompts,
        config=config,
        seed=seed,
        on_progress=on_progress,
        is_local=workers.number == 0,
        checkpoints=checkpoints and checkpoints.of(rows, workers.number),
        tracking=tracking if is_tracked(config.trainer) else None,
    )
    if workers.number == 0:  # half the cores: threads spin against the processes of idle engines
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    result = _train_with_retries(work, workers)
    assert isinstance(result, TrainingResult), "worker 0 returns its result"
    return result


def _train_with_retries(work: _Work, workers: Workers) -> Any:
    """Train; go on if a worker was lost, but not if training itself failed.

    A training that failed would fail again. When a worker is lost, other workers often raise before
    Ray notices: their all-reduce of gradients ends with a RuntimeError of gloo or NCCL. With
    several workers such an error counts as a lost worker. It is tried again as long as there are
    new checkpoints, and twice without one.
    """
    lost = (*lost_worker_errors(), RayActorError)
    if workers.number > 1:
        lost = (*lost, RuntimeError)
    attempt, again = 0, ""
    while True:
        resume = work.checkpoints.latest() if work.checkpoints else None
        if resume != work.resume:
            attempt = 0
        work = replace(work, resume=resume)
        if not workers.are_waiting and work.on_progress is not None:
            status = f"{again}starting {workers.number} training workers"
            work.on_progress(Progress(status=status))
        try:
            return workers.do(partial(_train_on_worker, work))
        except (ray.train.WorkerGroupError, RayActorError) as error:
            is_group = isinstance(error, ray.train.WorkerGroupError)
            causes = list(error.worker_failures.values()) if is_group else [error]
            for cause in causes:
                if isinstance(cause, UserError):
                    raise cause from None
            was_lost = any(isinstance(cause, lost) for cause in causes)
            attempt, again = attempt + 1, "a worker was lost: "
            if not was_lost or attempt == _ATTEMPTS:
                raise


def _train_on_worker(work: _Work) -> TrainingResult:
    """Train as one Ray Train worker; worker 0 also writes the model."""
    with without_collector():
        import_transformers()
        from baldistill.student.train import train

    # a training in this process has one worker, and in a Ray Tune trial no training context
    is_main = work.is_local or ray.train.get_context().get_world_rank() == 0
    rows = ray.get(work.annotated).to_pylist()
    checkpoint = nullcontext() if work.resume is None else work.resume.local()
    folder = tempfile.TemporaryDirectory(prefix="baldistill-student-")
    tracked: AbstractContextManager[None] = nullcontext()
    if is_main and work.tracking is not None:
        tracked = tracking(work.storage, work.tracking)
    with folder as scratch, checkpoint as resume, tracked:
        weights = row_weights([row["domain"] for row in rows], work.config.domain_weights)
        lessons = [
            lesson_of(row, work.prompts, work.config.target, weight)
            for row, weight in zip(rows, weights or [1.0] * len(rows), strict=True)
        ]
        result = train(
            lessons,
            init=work.init.resolve(),
            output=Path(scratch),
            config=work.config,
            seed=work.seed,
            on_progress=work.on_progress if is_main else None,
            is_main=is_main,
            checkpoints=work.checkpoints,
            resume=resume,
            run_name=f"{Path(work.storage.root).name} {work.name}",
        )
        if is_main:
            work.storage.upload_dir(Path(scratch), work.name)
    return result
