"""The Ray Train workers of a run, which may stay for its next training.

A training of Ray Train starts its workers anew: that takes 10 to 40 s, most of them imports of
torch and transformers. These workers do one job after the other instead: each is a function, which
all of them call. A job that fails, or loses a worker, ends them, and the next one starts others.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import ray
import ray.train
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from baldistill.ray_patches import without_train_attendants
from baldistill.storage import Storage

Job: TypeAlias = Callable[[], Any]

_SCRATCH = "_train"  # Ray Train wants a folder
_LOOK_SECONDS = 1.0  # between two looks whether the workers are gone
_END_SECONDS = 20.0  # that workers without a job have to end


class Workers:
    """Workers that are started for their first job; without any, this process does the jobs."""

    def __init__(
        self, number: int, worker: Mapping[str, float], storage: Storage, *, keep: bool = False
    ) -> None:
        """Remember what to start.

        Args:
            number: Of workers.
            worker: What each reserves, as Ray names it.
            storage: A folder that every worker sees, in which Ray Train gets one of its own.
            keep: Whether they wait for another job after the first.
        """
        self.number = number
        self._worker = worker
        self._storage = storage
        self._keep = keep
        self._group: _Group | None = None

    @property
    def are_waiting(self) -> bool:
        """Return whether a job can begin without waiting for workers."""
        return self.number == 0 or (self._group is not None and self._group.is_alive)

    def do(self, job: Job) -> Any:
        """Let all workers do a job; return what the first of them returns.

        Raises:
            ray.train.WorkerGroupError: The job failed in a worker, or a worker was lost.
            ray.exceptions.RayActorError: What hands the jobs out was lost; the workers are ended.
        """
        if self.number == 0:
            return job()
        if not self.are_waiting:
            self.close()
            self._group = _Group(self.number, self._worker, self._storage.sub(_SCRATCH))
        assert self._group is not None
        try:
            result = self._group.do(job)
        except RayActorError:
            self.close()
            raise
        if not self._keep:
            self.close()
        return result

    def close(self) -> None:
        """End the workers, whatever they do."""
        if self._group is not None:
            self._group.close()
            self._group = None
            self._storage.delete(_SCRATCH)


class _Group:
    """One start of workers. A thread waits for Ray Train, which tells when they have ended.

    In a thread, Ray Train takes no Ctrl-C for itself; in the main thread its handler would stay.
    """

    def __init__(self, number: int, worker: Mapping[str, float], scratch: Storage) -> None:
        from ray.train.torch import TorchTrainer  # imports torch

        # Place the actor beside the driver, so that it is lost with the driver alone. It asks for a
        # byte of memory: an actor that needs nothing is placed by any node, also by a new node that
        # does not know the driver's node.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        jobs = ray.remote(num_cpus=0, memory=1)(_Jobs)
        self._jobs = jobs.options(scheduling_strategy=here).remote()
        self._workers: list[Any] = []
        self._count = 0
        self._is_busy = False
        self._error: BaseException | None = None
        # a fresh name: Ray Train silently resumes a run whose name and path it has seen
        self._trainer = TorchTrainer(
            partial(_serve, self._jobs),
            scaling_config=ray.train.ScalingConfig(
                num_workers=number,
                use_gpu=worker.get("GPU", 0) > 0,
                resources_per_worker=dict(worker),
            ),
            run_config=ray.train.RunConfig(
                name=f"fine-tune-{uuid.uuid4().hex}",
                storage_path=scratch.root,
                storage_filesystem=scratch.fs,
            ),
        )
        without_train_attendants(self._trainer)
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # noqa: BLE001  # raised again where the job is waited for
            self._error = error

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def do(self, job: Job) -> Any:
        number, self._count, self._is_busy = self._count, self._count + 1, True
        # in a list: a reference itself would arrive as what it refers to
        self._jobs.give.remote([ray.put(job)])
        result = self._jobs.result.remote(number)
        while not ray.wait([result], timeout=_LOOK_SECONDS)[0]:
            self._workers = ray.get(self._jobs.workers.remote())
            if not self._thread.is_alive():
                assert self._error is not None, "workers return when they are told to"
                raise self._error
        done = ray.get(result)
        self._is_busy = False
        return done

    def close(self) -> None:
        if self._is_busy and self.is_alive:  # as after Ctrl-C, which shall not wait
            with suppress(RayActorError):
                self._workers = ray.get(self._jobs.workers.remote())
            for worker in self._workers:
                ray.kill(worker)
        elif self.is_alive:
            self._jobs.give.remote([None])
            self._thread.join(_END_SECONDS)
        ray.kill(self._jobs)


class _Jobs:
    """Actor that holds the jobs for the workers, and the result of each."""

    def __init__(self) -> None:
        self._jobs: list[Any] = []
        self._results: list[Any] = []
        self._workers: list[Any] = []
        self._changed = asyncio.Condition()

    async def enter(self, worker: list[Any]) -> None:
        self._workers += worker

    async def workers(self) -> list[Any]:
        return self._workers

    async def give(self, job: list[Any]) -> None:
        async with self._changed:
            self._jobs += job
            self._changed.notify_all()

    async def job(self, number: int) -> list[Any]:
        """Wait for a job; return its reference, or None, in a list."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._jobs) > number)
        return [self._jobs[number]]

    async def finish(self, result: Any) -> None:
        async with self._changed:
            self._results.append(result)
            self._changed.notify_all()

    async def result(self, number: int) -> Any:
        """Wait for the result of a job."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._results) > number)
        return self._results[number]


def _serve(jobs: Any) -> None:
    """Do jobs as a worker of Ray Train, until there is None."""
    is_first = ray.train.get_context().get_world_rank() == 0
    ray.get(jobs.enter.remote([ray.get_runtime_context().current_actor]))
    for number in itertools.count():
        (found,) = ray.get(jobs.job.remote(number))
        if found is None:
            return
        job = ray.get(found)
        result = job()
        del job, found
        _free_memory()
        if is_first:
            ray.get(jobs.finish.remote(result))


def _free_memory() -> None:
    """Free the memory of a job in a worker that stays."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
