"""Fine-tune the student through Ray Train; each worker runs `train.py`."""

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

_SCRATCH = "_train"  # Ray Train wants a folder
_ATTEMPTS = 3  # a training that loses a worker, as by preemption, starts again


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
        on_progress: Called by the process that trains. With workers that is the first of them,
            which gets a copy; this process calls it when it starts them.

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
    if num_workers == 0:  # half the cores: threads spin against the processes of idle engines
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    scaling = ray.train.ScalingConfig(
        num_workers=num_workers,
        use_gpu=worker.get("GPU", 0) > 0,
        resources_per_worker=dict(worker),
    )
    result = _fit_with_retries(work, scaling)
    values = result.return_value
    assert isinstance(values, dict), "the train function returns its result"
    return TrainingResult(**{**values, "losses": tuple(map(tuple, values["losses"]))})


def _fit_with_retries(work: dict[str, Any], scaling: ray.train.ScalingConfig) -> ray.train.Result:
    """Train; start again if a worker was lost, but not if training itself failed.

    A training that failed would fail again. When a worker is lost the others often raise before
    Ray notices: their all-reduce of gradients ends with a RuntimeError of gloo or NCCL. With
    several workers such an error counts as a lost worker.
    """
    lost = lost_worker_errors()
    if scaling.num_workers > 1:
        lost = (*lost, RuntimeError)
    scratch: Storage = work["storage"].sub(_SCRATCH)  # every worker must see it
    try:
        for attempt in range(_ATTEMPTS):
            if scaling.num_workers and work["on_progress"] is not None:
                again = "a worker was lost: " if attempt else ""
                status = f"{again}starting {scaling.num_workers} training workers"
                work["on_progress"](Progress(status=status))
            # a fresh name: Ray Train silently resumes a run whose name and path it has seen
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
    """Train as one Ray Train worker; worker 0 writes the model and returns the result."""
    # a training in this process has one worker, and no context where it is a Ray Tune trial
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
