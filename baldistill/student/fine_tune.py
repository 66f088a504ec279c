"""Fine-tune the student through Ray Train; each worker runs `train.py`.

torch and transformers take 3 s to import. So the process that trains imports them, when it trains:
this file is also imported by drivers whose workers train, and by the controller of Ray Train.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import ray
import ray.train

from baldistill.config import StudentConfig
from baldistill.errors import UserError
from baldistill.generation.types import ModelRef
from baldistill.processes import without_collector
from baldistill.ray_patches import interruptible_trainer, lost_worker_errors
from baldistill.storage import Storage
from baldistill.student.training import Progress, TrainingResult
from baldistill.teacher.parsing import target_text
from baldistill.teacher.prompts import PromptSet

_SCRATCH = "_train"  # Ray Train wants a folder
_ATTEMPTS = 3  # a training that loses a worker, as by preemption, starts again


@dataclass(frozen=True, slots=True)
class _Work:
    """What each worker needs to train; see `fine_tune`."""

    annotated: ray.ObjectRef[pa.Table]
    init: ModelRef
    storage: Storage
    name: str
    prompts: PromptSet
    config: StudentConfig
    seed: int
    on_progress: Callable[[Progress], None] | None
    is_local: bool


def fine_tune(
    annotated: pa.Table,
    *,
    init: ModelRef,
    storage: Storage,
    name: str,
    prompts: PromptSet,
    config: StudentConfig,
    seed: int,
    num_workers: int,
    worker: Mapping[str, float],
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train on annotated examples and leave the student at `name` in the storage.

    `annotated` are rows of `records.ANNOTATED`; at most B of them, so they travel whole. Without
    workers this process trains, which saves some 15 s a stage. Each worker reserves `worker`,
    resources as Ray names them. The process that trains calls `on_progress`. With workers,
    worker 0 calls a copy of it, and this process calls it when it starts the workers.

    Raises:
        UserError: As `train` raises it.
    """
    work = _Work(
        annotated=ray.put(annotated.select(["domain", "question", "answer", "rationale"])),
        init=init,
        storage=storage,
        name=name,
        prompts=prompts,
        config=config,
        seed=seed,
        on_progress=on_progress,
        is_local=num_workers == 0,
    )
    if num_workers == 0:  # half the cores: threads spin against the processes of idle engines
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    scaling = ray.train.ScalingConfig(
        num_workers=num_workers,
        use_gpu=worker.get("GPU", 0) > 0,
        resources_per_worker=dict(worker),
    )
    result = _fit_with_retries(work, scaling)
    assert isinstance(result.return_value, TrainingResult), "worker 0 returns its result"
    return result.return_value


def _fit_with_retries(work: _Work, scaling: ray.train.ScalingConfig) -> ray.train.Result:
    """Train; start again if a worker was lost, but not if training itself failed.

    A training that failed would fail again. When a worker is lost, other workers often raise before
    Ray notices: their all-reduce of gradients ends with a RuntimeError of gloo or NCCL. With
    several workers such an error counts as a lost worker.
    """
    lost = lost_worker_errors()
    if scaling.num_workers > 1:
        lost = (*lost, RuntimeError)
    scratch = work.storage.sub(_SCRATCH)  # every worker must see it
    try:
        for attempt in range(_ATTEMPTS):
            if scaling.num_workers and work.on_progress is not None:
                again = "a worker was lost: " if attempt else ""
                status = f"{again}starting {scaling.num_workers} training workers"
                work.on_progress(Progress(status=status))
            # a fresh name: Ray Train silently resumes a run whose name and path it has seen
            run = ray.train.RunConfig(
                name=f"fine-tune-{uuid.uuid4().hex}",
                storage_path=scratch.root,
                storage_filesystem=scratch.fs,
            )
            trainer = interruptible_trainer()(
                partial(_train_on_worker, work), scaling_config=scaling, run_config=run
            )
            try:
                return trainer.fit()
            except ray.train.WorkerGroupError as error:
                causes = list(error.worker_failures.values())
                for cause in causes:
                    if isinstance(cause, UserError):
                        raise cause from None
                was_lost = any(isinstance(cause, lost) for cause in causes)
                if not was_lost or attempt + 1 == _ATTEMPTS:
                    raise
    finally:
        work.storage.delete(_SCRATCH)
    raise AssertionError("the last attempt returns or raises")


def _train_on_worker(work: _Work) -> TrainingResult:
    """Train as one Ray Train worker; worker 0 also writes the model."""
    with without_collector():
        from baldistill.student.train import train

    # a training in this process has one worker, and in a Ray Tune trial no training context
    is_main = work.is_local or ray.train.get_context().get_world_rank() == 0
    rows = ray.get(work.annotated).to_pylist()
    with tempfile.TemporaryDirectory(prefix="baldistill-student-") as scratch:
        result = train(
            [
                work.prompts.render("student", question=row["question"], domain=row["domain"])
                for row in rows
            ],
            [target_text(row["rationale"], row["answer"]) for row in rows],
            init=work.init.resolve(),
            output=Path(scratch),
            config=work.config,
            seed=work.seed,
            on_progress=work.on_progress if is_main else None,
            is_main=is_main,
        )
        if is_main:
            work.storage.upload_dir(Path(scratch), work.name)
    return result
