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

from baldistill.answers.store import ResponseStore
from baldistill.config.teachers import OpenAITeacher
from baldistill.core.ledger import Caps
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef, Sampling
from baldistill.storage import Storage
from baldistill.teacher.in_flight import start_in_flight
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.session import AskSession
from baldistill.teacher.teacher import Question, Teacher

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

GREEDY = Sampling(max_new_tokens=20)
NUMBER = 60


@contextmanager
def run_beside(folder: Path, name: str, url: str, in_flight: Any, calls: int) -> Iterator[Teacher]:
    """A run with engines and a ledger of its own, on the store that all share."""
    config = OpenAITeacher(model="m", base_url=url, concurrency=8)
    storage = Storage.open(folder)
    store = ResponseStore(storage.sub("store"), in_flight)
    pool = Pool.start(
        config,
        ModelRef("m"),
        replicas=1,
        bundle={"CPU": 0.25},
        batch_size=8,
        answers=store.for_engines(),
    )
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
    """The first run asks what its cap allows; the second waits for it, and asks the rest."""
    in_flight, server = start_in_flight(), FaultServer(answers_at_most=0)
    with (
        running(server) as url,
        ThreadPoolExecutor(2) as threads,
        run_beside(tmp_path, "a", url, in_flight, calls) as first,
        run_beside(tmp_path, "b", url, in_flight, NUMBER) as second,
    ):
        asked = [threads.submit(first.ask, questions(range(NUMBER)), GREEDY, stage=1)]
        wait_for_work(server)
        backwards = range(NUMBER - 1, -1, -1)
        asked.append(threads.submit(second.ask, questions(backwards), GREEDY, stage=1))
        server.answers_at_most = None
        mine, others = (one.result(timeout=300) for one in asked)
        spent = [ray.get(one.ledger.summary.remote())["total"] for one in (first, second)]
    assert server.received.total() == len(server.received) == NUMBER
    assert [answer.text for answer in others] == [reply(f"Question {i}") for i in backwards]
    answered = [answer for answer in mine if answer.outcome == "answered"]
    assert len(answered) == calls
    assert all(answer.reason == "calls" for answer in mine if answer not in answered)
    assert [(one["calls"], one["reused"]) for one in spent] == [(calls, 0), (NUMBER - calls, calls)]


def test_what_a_dead_run_was_asking_is_asked_by_the_other(tmp_path: Path) -> None:
    in_flight, server = start_in_flight(), FaultServer(answers_at_most=0)
    with (
        running(server) as url,
        run_beside(tmp_path, "b", url, in_flight, NUMBER) as second,
        ThreadPoolExecutor(1) as threads,
    ):
        with run_beside(tmp_path, "a", url, in_flight, NUMBER) as first:
            threading.Thread(target=ask_and_die, args=(first,), daemon=True).start()
            wait_for_work(server)
            asked = threads.submit(second.ask, questions(range(NUMBER)), GREEDY, stage=1)
            time.sleep(1.0)
            assert not asked.done()
            assert server.received.total() == len(server.received), "nothing is asked twice"
        # its ledger is dead now
        server.answers_at_most = None
        answers = asked.result(timeout=300)
    assert [answer.text for answer in answers] == [reply(f"Question {i}") for i in range(NUMBER)]


def wait_for_work(server: FaultServer) -> None:
    """Until the first run waits for the silent server."""
    deadline = time.monotonic() + 300
    while server.working < 8:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask_and_die(teacher: Teacher) -> None:
    """Ask until the engines are killed, and do not tell the in-flight actor, as a dead run."""
    session = AskSession(teacher, questions(range(NUMBER)), GREEDY, 1, lambda number: None)
    with contextlib.suppress(Exception):
        for completions in teacher.pool.stream(session.reserve(), GREEDY):
            session.record(completions)
