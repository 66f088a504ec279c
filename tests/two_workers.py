"""Two workers that train together through gloo, without Ray: `python two_workers.py FOLDER JOBS`.

JOBS is JSON: a list of dicts with the keys of `Job`. Each job leaves its student and, as JSON, its
result in a folder of its name.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

NUMBER = 2


class Killed(BaseException):
    """Ends a training on all workers as a signal does."""


@dataclass
class Job:
    """A training of the bundled student on `number` examples."""

    name: str
    config: dict[str, Any]
    base: str | None = None
    """A folder beside that of the job, in place of the bundled student."""
    number: int = 24
    kill_after: int | None = None
    same_folder_as: str | None = None
    """The job from whose last checkpoint this one goes on."""


def train_job(job: Job, folder: Path, rank: int) -> None:
    """Train as one worker."""
    import random

    from baldistill.bundled import DOMAINS, make_example, model_dir
    from baldistill.config import StudentConfig
    from baldistill.storage import Storage
    from baldistill.student import train as training
    from baldistill.student.checkpoints import Checkpoints
    from baldistill.student.encode import Lesson
    from baldistill.student.training import Progress

    rng = random.Random(0)
    made = [make_example(rng.choice(DOMAINS), rng) for _ in range(job.number)]
    checkpoints = Checkpoints(Storage.open(folder / (job.same_folder_as or job.name)), 1, "key")
    found = checkpoints.latest()

    def report(progress: Progress) -> None:
        if progress.step == job.kill_after and not progress.status:
            raise Killed

    collate, seen = training.collate, []

    def watched(rows: Any, **options: Any) -> Any:
        seen.extend(row["input_ids"] for row in rows)
        return collate(rows, **options)

    training.collate = watched
    try:
        result = training.train(
            [
                Lesson(f"Question: {one.question}\n", f"{one.rationale}\nAnswer: {one.answer}")
                for one in made
            ],
            init=str(folder / job.base if job.base else model_dir("student")),
            output=folder / job.name,
            config=StudentConfig(**job.config),
            seed=5,
            on_progress=report,
            is_main=rank == 0,
            checkpoints=checkpoints,
            resume=found and Path(found.storage.path(found.name)),
        )
    except Killed:
        return
    finally:
        training.collate = collate
    (folder / job.name).mkdir(exist_ok=True)
    (folder / job.name / f"seen-{rank}.json").write_text(json.dumps(seen))
    if rank == 0:
        values = dataclasses.asdict(result) | {"resumed": found.step if found else 0}
        (folder / job.name / "result.json").write_text(json.dumps(values))


def work(rank: int, folder: Path, jobs: list[Job]) -> None:
    """Do all jobs as one worker of a group."""
    import torch
    from torch import distributed

    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": NUMBER, "MASTER_PORT": 1}
    os.environ |= {name: str(value) for name, value in environment.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / "group"), NUMBER)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=NUMBER)
    for job in jobs:
        train_job(job, folder, rank)
        distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    """Import once, then fork the workers; end with status 1 if one of them failed."""
    import peft  # noqa: F401
    import torch  # noqa: F401

    import baldistill.student.train  # noqa: F401

    folder, jobs = Path(sys.argv[1]), [Job(**job) for job in json.loads(sys.argv[2])]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(rank, folder, jobs)) for rank in range(NUMBER)]
    for worker in workers:
        worker.start()
    first = wait([worker.sentinel for worker in workers])
    for worker in workers:
        if worker.sentinel in first and worker.exitcode:  # the other would wait for it
            for other in workers:
                other.kill()
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))


if __name__ == "__main__":
    main()
