"""Fine-tuning through Ray Train: in this process, and by two workers that share the gradients."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from baldistill.bundled import DOMAINS, make_example
from baldistill.config import StudentConfig
from baldistill.config.student import CheckpointConfig
from baldistill.errors import UserError
from baldistill.generation.types import ModelRef
from baldistill.progress.counter import Figures, start_counter
from baldistill.records import ANNOTATED
from baldistill.storage import Storage
from baldistill.student.checkpoints import Checkpoints
from baldistill.student.fine_tune import fine_tune
from baldistill.student.training import Progress, TrainingResult
from baldistill.student.workers import Workers
from baldistill.teacher.prompts import load_prompts

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def annotated(number: int) -> pa.Table:
    rng = random.Random(0)
    made = [make_example(rng.choice(DOMAINS), rng) for _ in range(number)]
    rows = [
        {"example_id": str(i), "domain": one.domain, "question": one.question,
         "answer": one.answer, "source": "real", "rationale": one.rationale, "attempts": 1}
        for i, one in enumerate(made)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=ANNOTATED)


def tune(folder: Path, num_workers: int, **values: Any) -> TrainingResult:
    config = {"learning_rate": 1e-3, "epochs": 2, "batch_size": 8, **values}
    return fine_tune(
        annotated(64),
        init=values.get("init", ModelRef("bundled-student")),
        storage=Storage.open(folder),
        name="stages/01/student",
        prompts=load_prompts("compact", model="bundled"),
        config=StudentConfig.model_construct(**{k: v for k, v in config.items() if k != "init"}),
        seed=3,
        workers=values.get("workers") or Workers(num_workers, {"CPU": 1}, Storage.open(folder)),
        on_progress=values.get("on_progress"),
        checkpoints=Checkpoints(Storage.open(folder), 1, "key"),
    )


def test_a_stage_trains_in_this_process(tmp_path: Path) -> None:
    reports: list[Progress] = []
    config = StudentConfig(learning_rate=1e-3, epochs=2, batch_size=8)
    result = fine_tune(
        annotated(64), init=ModelRef("bundled-student"), storage=Storage.open(tmp_path),
        name="stages/01/student", prompts=load_prompts("compact", model="bundled"),
        config=config, seed=3, workers=Workers(0, {}, Storage.open(tmp_path)),
        on_progress=reports.append,
    )  # fmt: skip
    assert (result.num_examples, result.num_steps) == (64, 16)
    assert reports[-1].step == 16
    assert result.losses[-1][1] < result.losses[0][1]
    AutoModelForCausalLM.from_pretrained(tmp_path / "stages/01/student")
    # and the next stage starts from it
    again = tune(tmp_path / "next", 0, init=ModelRef("stages/01/student", Storage.open(tmp_path)))
    assert again.losses[0][1] < result.losses[0][1]


def test_small_domains_count_more_where_they_shall(tmp_path: Path) -> None:
    """All rows in one step: its loss is the mean over target tokens, weighed by domain."""
    rows = annotated(64)["domain"].to_pylist()
    assert len({rows.count(domain) for domain in rows}) > 1, "domains of several sizes"
    options = {"epochs": 1, "batch_size": 64, "learning_rate": 1e-12}
    losses = {
        scheme: tune(tmp_path / scheme, 0, domain_weights=scheme, **options).loss
        for scheme in ("none", "inverse", "disco")
    }
    assert abs(losses["inverse"] - losses["none"]) > abs(losses["disco"] - losses["none"]) > 1e-4


def test_an_error_of_the_users_arrives_as_such(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lower student\.learning_rate") as raised:
        tune(tmp_path, 0, learning_rate=1e30)
    assert "Traceback" not in str(raised.value)
    assert not Storage.open(tmp_path).exists("stages/01/student")


KILLED = """
import os, signal, sys
from pathlib import Path
import ray
from baldistill.config.student import CheckpointConfig
from test_train import tune

def kill(progress):
    if progress.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

ray.init(address=sys.argv[1], log_to_driver=False)
tune(Path(sys.argv[2]), 0, checkpoint=CheckpointConfig(every_steps=3), on_progress=kill)
"""


def test_a_driver_that_was_killed_while_it_trained_goes_on(tmp_path: Path) -> None:
    undisturbed = tune(tmp_path / "undisturbed", 0)
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", KILLED, address, str(tmp_path / "killed")]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    told: list[Progress] = []
    again = tune(tmp_path / "killed", 0, on_progress=told.append)
    assert Progress(3, 16, status="going on after step 3") in told
    assert again == undisturbed
    one, other = (
        load_file(tmp_path / name / "stages/01/student/model.safetensors")
        for name in ("undisturbed", "killed")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_two_workers_halve_the_steps_and_learn_the_same(tmp_path: Path) -> None:
    one = tune(tmp_path / "one", 0, batch_size=16)
    counter = start_counter()

    def tell(progress: Progress) -> None:  # from the first worker
        figures = Figures(progress.step, f"loss {progress.loss}", progress.total_steps)
        ray.get(counter.show.remote(figures))

    on_ctrl_c = signal.getsignal(signal.SIGINT)
    workers = Workers(2, {"CPU": 1}, Storage.open(tmp_path), keep=True)
    two = tune(tmp_path / "two", 2, batch_size=8, on_progress=tell, workers=workers)
    assert workers.are_waiting
    assert signal.getsignal(signal.SIGINT) is on_ctrl_c, "Ctrl-C is the program's afterwards, too"
    assert ray.get(counter.figures.remote()) == Figures(8, f"loss {two.losses[-1][1]}", 8)
    ray.kill(counter)
    assert two.num_steps == one.num_steps == 8  # 2 epochs of 64 examples, 16 at a step
    assert two.num_examples == 64
    assert two.losses[0][1] == pytest.approx(one.losses[0][1], rel=0.05)
    assert two.loss == pytest.approx(one.loss, rel=0.1)
    AutoModelForCausalLM.from_pretrained(tmp_path / "two/stages/01/student")
    weights = load_file(tmp_path / "two/stages/01/student/model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())

    told = tmp_path / "told"
    told.touch()

    def kill_once(progress: Progress) -> None:  # in the first worker
        is_first = str(progress.step) not in told.read_text().splitlines()
        if not progress.status.startswith(("encoding", "taking")):
            with told.open("a") as file:
                file.write(f"{progress.status or progress.step}\n")
        if progress.step == 5 and is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        if progress.step == 7 and is_first:
            time.sleep(300)  # until it is killed, because the actor with the jobs is gone

    def lose_jobs() -> None:
        while "7" not in told.read_text().splitlines():
            time.sleep(0.05)
        assert workers._group is not None
        ray.kill(workers._group._jobs)

    thread = threading.Thread(target=lose_jobs, daemon=True)
    thread.start()
    checkpoint = CheckpointConfig(every_steps=3)
    again = tune(
        tmp_path / "again", 2, batch_size=8, checkpoint=checkpoint, on_progress=kill_once,
        workers=workers,
    )  # fmt: skip
    thread.join()
    lost = ["a worker was lost: starting 2 training workers", "loading the model"]
    assert told.read_text().splitlines() == [
        "loading the model", *"12345",  # by the workers of the first training
        *lost, "going on after step 3", *"4567", *lost, "going on after step 6", *"78",
    ]  # fmt: skip
    workers.close()
    assert not workers.are_waiting
    actors = {actor["ActorClassName"] for actor in ray._private.state.actors().values()}
    assert not actors & {"PlacementGroupCleaner", "DatasetManager", "PreemptionWatcher"}
    assert "_AutoscalingCoordinatorActor" not in actors, "nobody here can add a machine"
    assert not Storage.open(tmp_path).exists("_train"), "Ray Train's own files"
    assert again == two
    same = load_file(tmp_path / "again/stages/01/student/model.safetensors")
    assert all(torch.equal(same[name], weights[name]) for name in weights)


@pytest.mark.slow
def test_an_error_of_the_users_in_a_worker_is_not_tried_again(tmp_path: Path) -> None:
    def note(progress: Progress) -> None:
        with (tmp_path / "steps").open("a") as file:
            file.write(f"{progress.status or progress.step}\n")

    with pytest.raises(UserError, match=r"lower student\.learning_rate") as raised:
        tune(tmp_path, 2, learning_rate=1e30, on_progress=note)
    assert "Traceback" not in str(raised.value)
    assert not Storage.open(tmp_path).exists("stages/01/student")
    steps = (tmp_path / "steps").read_text().splitlines()
    assert steps[:2] == ["starting 2 training workers", "loading the model"]
    assert steps.count(steps[0]) == steps.count(steps[1]) == 1, "it began again"
    assert steps.count("1") == 1, "it began again"


@pytest.mark.slow
def test_what_training_itself_raises_is_not_tried_again(tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        if progress.status:
            return
        with (tmp_path / "attempts").open("a") as file:
            file.write(f"{progress.step}\n")
        raise KeyError("a defect")

    with pytest.raises(ray.train.WorkerGroupError, match="a defect"):
        tune(tmp_path, 1, on_progress=fail)
    assert (tmp_path / "attempts").read_text() == "1\n"
