"""Teacher.ask through the Batch API: a driver that dies while a batch is in progress."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from runs import WAIT_S, wait_until
from servers.batch_server import BatchServer
from servers.fault_server import reply, running

from baldistill.config.teachers import OpenAITeacher
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef, Request, Sampling

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

DRIVER = """
import json, sys
import ray
from baldistill.config.teachers import OpenAITeacher
from baldistill.core.ledger import Caps
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef
from baldistill.generation.types import Sampling
from baldistill.storage import Storage
from baldistill.teacher.teacher import Question, Teacher
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.answers.store import ResponseStore

address, url, folder, number = sys.argv[1:]
ray.init(address=address, logging_level="ERROR", log_to_driver=False)
config = OpenAITeacher(model="m", base_url=url, batch_api={"rows": 40, "poll_s": 0.1, "batches": 4})
pool = Pool.start(config, ModelRef("m"), replicas=1, bundle={"CPU": 0.25}, batch_size=40)
storage = Storage.open(folder)
store = ResponseStore(storage.sub("store"))
ledger = start_ledger(storage.sub("ledger"), store, Caps(examples=200, calls=200, tokens=130_000))
teacher = Teacher(pool, ledger, store, config, load_prompts("compact", model="bundled"))
questions = [Question(f"Question {i}", "rationale", "d0") for i in range(int(number))]
answers = teacher.ask(questions, Sampling(max_new_tokens=20), stage=1)
print(json.dumps([[a.text for a in answers], ray.get(ledger.summary.remote())["total"]]))
"""


def start(url: str, folder: Path, number: int) -> subprocess.Popen[str]:
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, address, url, str(folder), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_driver_that_is_killed_finds_its_batches_again(tmp_path: Path) -> None:
    """Some batches are stored, others in progress; what was reserved before fits the caps again."""
    server = BatchServer(held=True)
    with running(server) as url:
        first = start(url, tmp_path, 150)
        wait_until(lambda: len(server.batches) == 4, first)
        server.finish(2)
        store = tmp_path / "store"
        wait_until(lambda: store.exists() and any(store.glob("*.parquet")), first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert sum(server.answered.values()) < 150
        second = start(url, tmp_path, 200)
        wait_until(lambda: sum(server.submitted.values()) == 200, second)
        server.held = False
        output, _ = second.communicate(timeout=WAIT_S)
    answers, total = json.loads(output)
    assert answers == [reply(f"Question {i}") for i in range(200)]
    assert server.submitted == server.answered == {f"Question {i}": 1 for i in range(200)}
    assert (total["units"], total["calls"], total["held_tokens"]) == (200, 200, 0)
    assert (total["prompt_tokens"], total["completion_tokens"]) == (400, 1000)


def test_an_engine_that_is_killed_finds_its_batches_again() -> None:
    server = BatchServer(held=True)
    options = {"rows": 10, "poll_s": 0.1, "batches": 4}
    prompts = [f"Question {i}" for i in range(25)]
    with running(server) as url:
        config = OpenAITeacher.model_validate({"base_url": url, "batch_api": options})
        pool = Pool.start(config, ModelRef("m"), replicas=1, bundle={"CPU": 0.25}, batch_size=10)
        with ThreadPoolExecutor() as executor:
            asked = [Request(prompt, prompt) for prompt in prompts]
            answers = executor.submit(pool.generate, asked, Sampling(max_new_tokens=20))
            while len(server.batches) < 3:
                time.sleep(0.02)
            ray.kill(pool.actors[0], no_restart=False)
            listed = server.calls["list"]
            while server.calls["list"] < listed + 3:
                time.sleep(0.02)
            server.held = False
            assert [answer.text for answer in answers.result()] == [reply(p) for p in prompts]
        pool.close()
    assert set(server.submitted.values()) == set(server.answered.values()) == {1}
