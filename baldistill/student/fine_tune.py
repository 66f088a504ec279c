"""Fine-tune the student through Ray Train; see `train.py` for what a worker does."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer

from baldistill.config import StudentConfig
from baldistill.errors import UserError
from baldistill.generation.model_ref import ModelRef
from baldistill.ray_patches import lost_worker_errors
from baldistill.storage import Storage
from baldistill.student.train import Progress, TrainingResult, train
from baldistill.teacher.parsing import target_text
from baldistill.teacher.prompts import PromptSet

_SCRATCH = "_train"  # of Ray Train, which wants a folder
_ATTEMPTS = 3  # a training that loses a worker, such as a preempted one, starts again


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

    Args:
        annotated: Rows of `records.ANNOTATED`; at most B of them, so they travel whole.
        init: The model to start from.
        storage: The run's storage.
        name: Folder for the model, which `AutoModelForCausalLM.from_pretrained` loads.
        prompts: The `student` template is used.
        config: Hyperparameters.
        seed: Of this stage's training.
        num_workers: Ray Train workers; 0 trains in this process (saves some 15 s a stage).
        worker: What each worker reserves, as Ray names it (`CPU`, `GPU`, custom resources).
        on_progress: Called by the process that trains: this one, or else the first worker, which
            gets a copy of it.

    Raises:
        UserError: As `train` raises it.
    """
    work = {
        "annotated": ray.put(annotated.select(["domain", "question", "answer", "rationale"])),
        "init": init,
        "storage": storage,
        "name": name,
        "prompts": prompts,
        "config": config,
        "seed": seed,
        "on_progress": on_progress,
        "is_local": num_workers == 0,
    }
    if num_workers == 0:  # threads spin against the idle engines' processes: half the cores
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    scaling = ray.train.ScalingConfig(
        num_workers=num_workers,
        use_gpu=worker.get("GPU", 0) > 0,
        resources_per_worker=dict(worker),
    )
    result = _fit(work, scaling)
    values = result.return_value
    assert isinstance(values, dict), "the train function returns its result"
    return TrainingResult(**{**values, "losses": tuple(map(tuple, values["losses"]))})


def _fit(work: dict[str, Any], scaling: ray.train.ScalingConfig) -> ray.train.Result:
    """Train; again from the start where a worker was lost, but not where training itself failed.

    That would fail again. A worker that is lost lets others raise, often before Ray has noticed:
    what ends their exchange of gradients (gloo's or NCCL's RuntimeError) counts as a loss.
    """
    lost = lost_worker_errors()
    if scaling.num_workers > 1:
        lost = (*lost, RuntimeError)
    scratch: Storage = work["storage"].sub(_SCRATCH)  # every worker must see it
    try:
        for attempt in range(_ATTEMPTS):
            # a name of its own: Ray Train silently resumes a run whose name and path it has seen
            run = ray.train.RunConfig(
                name=f"fine-tune-{uuid.uuid4().hex}",
                storage_path=scratch.root,
                storage_filesystem=scratch.fs,
            )
            trainer = TorchTrainer(
                _train_on_worker, train_loop_config=work, scaling_config=scaling, run_config=run
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
        work["storage"].delete(_SCRATCH)
    raise AssertionError("the last attempt returns or raises")


def _train_on_worker(work: dict[str, Any]) -> dict[str, Any]:
    """What each Ray Train worker runs; worker 0 writes the model and returns the result."""
    # in this process there is one worker; and it may be a Ray Tune trial, which has no context
    is_main = work["is_local"] or ray.train.get_context().get_world_rank() == 0
    table: pa.Table = ray.get(work["annotated"])
    storage, prompts = work["storage"], work["prompts"]
    rows = table.to_pylist()
    with tempfile.TemporaryDirectory(prefix="baldistill-student-") as scratch:
        result = train(
            [prompts.render("student", question=r["question"], domain=r["domain"]) for r in rows],
            [target_text(r["rationale"], r["answer"]) for r in rows],
            init=work["init"].resolve(),
            output=Path(scratch),
            config=work["config"],
            seed=work["seed"],
            on_progress=work["on_progress"] if is_main else None,
            is_main=is_main,
        )
        if is_main:
            storage.upload_dir(Path(scratch), work["name"])
    return asdict(result)
