"""Runs side by side on one store: what one is asking, the other waits for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from servers.fault_server import FaultServer, reply, running

from baldistill.config_teachers import OpenAITeacher
from baldistill.core.ledger import Caps
from baldistill.generation.pool import Pool
from baldistill.generation.protocol import ModelRef, Sampling
from baldistill.storage import Storage
from baldistill.teacher.ask import Question, Teacher
from baldistill.teacher.exchange import Exchange
from baldistill.teacher.in_flight import start_in_flight
from baldistill.teacher.ledger import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.store import ResponseStore

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

GREEDY = Sampling(max_new_tokens=20)
NUMBER = 60


@contextmanager
def run_beside(folder: Path, name: str, url: str, in_flight: Any, calls: int) -> Iterator[Teacher]:
    """A run with engines and a ledger of its own, on the store that all share."""
    config = OpenAITeacher(model="m", base_url=url, concurrency=8)
    pool = Pool.start(config, ModelRef("m"), replicas=1, bundle={"CPU": 0.25}, batch_size=8)
    storage = Storage.open(folder)
    store = ResponseStore(storage.sub("store"), in_flight)
    ledger = start_ledger(storage.sub(f"ledger-{name}"), store, Caps(calls=calls))
    try:
        yield Teacher(pool, ledger, store, config, load_prompts("compact", model="bundled"))
    finally:
        pool.close()
        ray.kill(ledger)


def questions(order: range) -> list[Question]:
    return [Question(f"Question {i}", "rationale", f"d{i % 3}") for i in order]


@pytest.mark.parametrize("calls", [NUMBER, 40])
def test_a_call_that_two_runs_want_at_once_is_paid_once(tmp_path: Path, calls: int) -> None:
    """Each may make `calls` calls; what the other pays for costs it nothing."""
    in_flight, server = start_in_flight(), FaultServer(latency=0.1)
    with (
        running(server) as url,
        ThreadPoolExecutor(2) as threads,
        run_beside(tmp_path, "a", url, in_flight, calls) as first,
        run_beside(tmp_path, "b", url, in_flight, calls) as second,
    ):
        orders = range(NUMBER), range(NUMBER - 1, -1, -1)
        asked = [
            threads.submit(one.ask, questions(order), GREEDY, stage=1)
            for one, order in zip((first, second), orders, strict=True)
        ]
        answers = [one.result(timeout=300) for one in asked]
        spent = [ray.get(one.ledger.summary.remote())["total"] for one in (first, second)]
    assert server.received.total() == len(server.received) == NUMBER
    for order, given in zip(orders, answers, strict=True):
        assert [answer.text for answer in given] == [reply(f"Question {i}") for i in order]
    assert [one["calls"] + one["reused"] for one in spent] == [NUMBER, NUMBER]
    assert sum(one["calls"] for one in spent) == NUMBER
    assert all(0 < one["calls"] <= calls for one in spent), "both had their part in it"


def test_what_a_dead_run_was_asking_is_asked_by_the_other(tmp_path: Path) -> None:
    in_flight, server = start_in_flight(), FaultServer(answers_at_most=10)
    with (
        running(server) as url,
        run_beside(tmp_path, "b", url, in_flight, NUMBER) as second,
        ThreadPoolExecutor(1) as threads,
    ):
        with run_beside(tmp_path, "a", url, in_flight, NUMBER) as first:
            threading.Thread(target=ask_and_die, args=(first,), daemon=True).start()
            deadline = time.monotonic() + 300
            while server.working < 8:  # the server is silent, and the first run waits for it
                assert time.monotonic() < deadline
                time.sleep(0.02)
            asked = threads.submit(second.ask, questions(range(NUMBER)), GREEDY, stage=1)
            time.sleep(1.0)
            assert not asked.done()
            assert server.received.total() == len(server.received), "nothing is asked twice"
        # its ledger is dead now
        server.answers_at_most = None
        answers = asked.result(timeout=300)
    assert [answer.text for answer in answers] == [reply(f"Question {i}") for i in range(NUMBER)]


def ask_and_die(teacher: Teacher) -> None:
    """Ask until the engines are killed, which nobody tells the in-flight actor."""
    exchange = Exchange(teacher, GREEDY, 1, lambda number: None, iter(questions(range(NUMBER))))
    with contextlib.suppress(Exception):
        for completions in teacher.pool.stream(exchange.reserved(), GREEDY):
            exchange.record(completions)
