"""A server process, and a teacher that asks it, for the benchmarks of HTTP teachers."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from baldistill.answers.store import ResponseStore
from baldistill.config.teachers import OpenAITeacher
from baldistill.core.ledger import Caps
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef, Sampling
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.teacher import Question, Teacher

ROOT = Path(__file__).resolve().parents[1]
SAMPLING = Sampling(max_new_tokens=96)


@contextmanager
def server(latency: float, refuse: float = 0.0, spread: float = 0.0) -> Iterator[str]:
    """Run the tests' loopback server in a process of its own; yield its base URL."""
    script = ROOT / "tests" / "servers" / "fault_server.py"
    options = {"--latency": latency, "--refuse": refuse, "--spread": spread}
    arguments = [text for name, value in options.items() for text in (name, str(value))]
    command = [sys.executable, str(script), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def counts(url: str) -> dict[str, dict[str, int]]:
    """Return how often each prompt was received and answered."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/counts") as answer:
        return json.load(answer)  # type: ignore[no-any-return]


@contextmanager
def teacher(folder: Path, url: str, *, concurrency: int, replicas: int = 1) -> Iterator[Teacher]:
    """Yield a teacher with ledger, store and pool, as a run has it; its actors are up."""
    config = OpenAITeacher(model="m", base_url=url, concurrency=concurrency)
    storage = Storage.open(folder)
    store = ResponseStore(storage.sub("store"))
    pool = Pool.start(
        config, ModelRef("m"), replicas=replicas, bundle={"CPU": 0.25},
        batch_size=64, answers=store.for_engines(),
    )  # fmt: skip
    ray.get([actor.load.remote(pool.model) for actor in pool.actors])
    ledger = start_ledger(storage.sub("ledger"), store, Caps())
    ray.get(ledger.summary.remote())
    try:
        yield Teacher(pool, ledger, store, config, load_prompts("compact", model="bundled"))
    finally:
        pool.close()
        ray.kill(ledger)


def prompt(number: int) -> str:
    """Return a prompt like those of the quickstart."""
    return f"Question: {number} apples and {number + 7} pears are how many?\nGold answer: 7\n"


def questions(number: int) -> Iterator[Question]:
    """Yield `number` different questions."""
    return (Question(prompt(i), "rationale", f"domain-{i % 50}") for i in range(number))


def connect() -> None:
    """Start a local Ray, quietly."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
