"""Teacher.ask over HTTP: ledger, store and pool around a server that misbehaves or dies."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow.fs as pafs
import pytest
import ray
from servers.fault_server import FaultServer, reply, running

from baldistill.answers.store import ResponseStore
from baldistill.config.teachers import OpenAITeacher
from baldistill.core.ledger import Caps, Ledger
from baldistill.errors import UserError
from baldistill.generation.pool import EngineActor, Pool
from baldistill.generation.types import ModelRef, Sampling
from baldistill.run_folder.ledger_log import read_log
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.teacher import Answer, Question, Teacher

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

SERVER = Path(__file__).resolve().parents[1] / "servers" / "fault_server.py"
GREEDY = Sampling(max_new_tokens=20)
CAPS = Caps(examples=10_000)
KEY_NAME = "BALDISTILL_TEST_KEY"  # see conftest.py
DRIVER = """
import json, sys
import ray
from baldistill.config.teachers import OpenAITeacher
from baldistill.core.ledger import Caps
from baldistill.generation.pool import EngineActor, Pool
from baldistill.generation.types import ModelRef
from baldistill.generation.types import Sampling
from baldistill.storage import Storage
from baldistill.teacher.teacher import Question, Teacher
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.answers.store import ResponseStore

address, url, folder, number = sys.argv[1:]
ray.init(address=address, logging_level="ERROR", log_to_driver=False)
config = OpenAITeacher(model="m", base_url=url, concurrency=16)
storage = Storage.open(folder)
store = ResponseStore(storage.sub("store"))
pool = Pool.start(config, ModelRef("m"), replicas=1, bundle={"CPU": 0.25}, batch_size=8,
                  answers=store.for_engines())
ledger = start_ledger(storage.sub("ledger"), store, Caps(examples=10_000))
teacher = Teacher(pool, ledger, store, config, load_prompts("compact", model="bundled"))
questions = [Question(f"Question {i}", "rationale", "d0") for i in range(int(number))]
answers = teacher.ask(questions, Sampling(max_new_tokens=20), stage=1)
print(json.dumps([[a.text for a in answers], ray.get(ledger.summary.remote())["total"]]))
"""


@contextmanager
def teacher(
    folder: Path | Storage, url: str, caps: Caps = CAPS, **options: Any
) -> Iterator[Teacher]:
    """A run begun (or begun again) in a folder."""
    config = OpenAITeacher.model_validate({"model": "m", "base_url": url, **options})
    storage = folder if isinstance(folder, Storage) else Storage.open(folder)
    store = ResponseStore(storage.sub("store"))
    pool = Pool.start(
        config,
        ModelRef("m"),
        replicas=1,
        bundle={"CPU": 0.25},
        batch_size=8,
        answers=store.for_engines(),
    )
    ledger = start_ledger(storage.sub("ledger"), store, caps)
    try:
        yield Teacher(pool, ledger, store, config, load_prompts("compact", model="bundled"))
    finally:
        pool.close()
        ray.kill(ledger)


def questions(number: int, script: str = "") -> list[Question]:
    return [Question(f"{script}Question {i}", "rationale", f"d{i % 3}") for i in range(number)]


def spent(asked: Teacher) -> dict[str, Any]:
    total = ray.get(asked.ledger.summary.remote())["total"]
    assert isinstance(total, dict)
    return total


def test_every_kind_of_answer_reaches_the_ledger_and_the_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A few hundred rows of small batches, some failing, in few segments."""
    server = FaultServer(latency=0.02, refuse=0.1, retry_after=0.05)
    wanted = questions(300)
    scripts = {3: "<400>", 70: "<500 500 500>", 71: "<503 429:0.1 drop>", 200: "<badjson>"}
    for number, script in scripts.items():
        wanted[number] = Question(f"{script} Question {number}", "rationale", "d0")
    with running(server) as url, teacher(tmp_path, url, concurrency=16, max_retries=2) as asked:
        answers = asked.ask(wanted, GREEDY, stage=1)
        total = spent(asked)
        again = asked.ask(wanted[4:60], GREEDY, stage=1)
    assert [a.outcome for a in answers] == [
        "rejected" if number in (3, 70) else "answered" for number in range(300)
    ]
    assert [a.text for a in answers if a.outcome == "answered"] == [
        reply(str(q.prompt)) for n, q in enumerate(wanted) if n not in (3, 70)
    ]
    assert answers[3].reason == "request refused"
    assert answers[70].failure == "server error: no luck (HTTP 500)"
    assert again == answers[4:60]
    # what may have been charged for is a call of its own: two more for 70, one each for 71 and 200
    assert (total["units"], total["calls"]) == (298, 304)
    assert total["rejected"] == {"request refused": 1, "server error": 1}
    assert set(server.answered.values()) == {1, 2}  # 2: an answer that was broken on its way
    twice = [prompt for prompt, times in server.answered.items() if times == 2]
    assert sorted(twice) == sorted(str(wanted[number].prompt) for number in (71, 200))
    segments = asked.store.segments()
    assert len(segments) <= 38  # of 8 rows each, had every batch been handed over alone


def test_answers_are_kept_while_a_row_of_their_batch_hangs(tmp_path: Path) -> None:
    """The driver has seven of eight while the server still works on the last."""
    server = FaultServer(answers_at_most=7)
    told: list[int] = []

    def on_answers(number: int) -> None:
        told.append(number)
        if sum(told) == 7:
            server.answers_at_most = None

    with running(server) as url, teacher(tmp_path, url) as asked:
        answers = asked.ask(questions(8), GREEDY, stage=1, on_answers=on_answers)
    assert [a.text for a in answers] == [reply(f"Question {i}") for i in range(8)]
    assert sum(told) == 8
    assert set(server.received.values()) == {1}


def test_a_cap_on_calls_counts_those_that_may_have_been_charged(tmp_path: Path) -> None:
    server = FaultServer()
    prompt = "<500 drop badjson> Question"
    wanted = [Question(prompt, "rationale", "d0")]
    with running(server) as url, teacher(tmp_path, url, caps=Caps(calls=2)) as asked:
        (answer,) = asked.ask(wanted, GREEDY, stage=1)
        total = spent(asked)
    assert (answer.outcome, answer.reason) == ("refused", "calls")
    assert server.received[prompt] == total["calls"] == 2
    assert total["units"] == 0


def test_the_plug_is_pulled_and_put_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's process is killed in mid-run; the run waits, says so, and is complete."""
    monkeypatch.setattr("baldistill.generation.watch.ASK_EVERY", 0.2)
    monkeypatch.setattr("baldistill.generation.watch.NOTICE_EVERY", 0.2)
    caplog.set_level(logging.WARNING, logger="baldistill")
    monkeypatch.setattr(logging.getLogger("baldistill"), "propagate", True)
    process, url = start_server()
    counts: list[Counter[str]] = []
    answered = threading.Semaphore(0)

    def pull() -> None:
        nonlocal process
        for _ in range(40):
            answered.acquire()
        counts.append(read_counts(url))
        process.kill()
        process.wait()
        wait_until(lambda: "has not answered for" in caplog.text)
        process, _ = start_server(url)

    thread = threading.Thread(target=pull)
    thread.start()
    with teacher(tmp_path, url, concurrency=16) as asked:
        answers = asked.ask(
            questions(200), GREEDY, stage=1, on_answers=lambda n: answered.release(n)
        )
        total = spent(asked)
    thread.join()
    counts.append(read_counts(url))
    process.kill()
    process.wait()
    assert [a.text for a in answers] == [reply(f"Question {i}") for i in range(200)]
    before, after = counts
    # what was under way when the server died it may have answered, and charged for, into the void
    assert len(before.keys() & after.keys()) <= 16
    assert total["units"] == 200
    assert 200 <= total["calls"] <= 200 + 16
    assert set(after.values()) == {1}
    assert "trying again until patience_s=600 have passed" in caplog.text


def test_when_patience_ends_the_run_stops_and_goes_on_later(tmp_path: Path) -> None:
    """Also what was answered in the batch that met the end is kept and not paid twice."""
    stop = FaultServer(latency=0.01)
    wanted = questions(100)
    wanted[90] = Question("<401> Question 90", "rationale", "d0")
    with running(stop) as url:
        port = int(url.split(":")[2].split("/")[0])
        with teacher(tmp_path, url, concurrency=8) as asked:
            with pytest.raises(UserError, match="key refused: the server does not accept") as error:
                asked.ask(wanted, GREEDY, stage=1)
            assert type(error.value) is UserError
            total = spent(asked)
    paid = stop.answered
    # what was reserved and not sent is free again
    assert (total["units"], total["calls"]) == (len(paid), len(paid))
    assert total["held_tokens"] == 0
    assert 50 < len(paid) < 100
    with (
        teacher(tmp_path, url, concurrency=8, patience_s=0.5) as asked,
        pytest.raises(UserError, match=r"longer than teacher\.patience_s=0\.5 allows: no"),
    ):
        asked.ask(wanted, GREEDY, stage=1)
    back = FaultServer()
    with running(back, port), teacher(tmp_path, url, concurrency=8) as asked:
        wanted[90] = questions(91)[90]
        answers: list[Answer] = asked.ask(wanted, GREEDY, stage=1)
        total = spent(asked)
    assert [a.text for a in answers] == [reply(f"Question {i}") for i in range(100)]
    assert not paid.keys() & back.answered.keys()
    assert len(paid) + len(back.answered) == 100
    assert (total["units"], total["calls"]) == (100, 100)
    assert stop.received["<401> Question 90"] == 1  # batches that were waiting do not try again


def test_what_a_client_that_died_may_have_sent_is_not_given_back(tmp_path: Path) -> None:
    server = FaultServer(answers_at_most=0)
    with running(server) as url, teacher(tmp_path, url) as asked:

        def kill() -> None:
            wait_until(lambda: server.working == 3)
            server.key = "sk-another"
            ray.kill(asked.pool.actors[0], no_restart=False)

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(UserError, match="key refused"):
            asked.ask(questions(3), GREEDY, stage=1)
        thread.join()
        total = spent(asked)
    # the dead client had sent all three; a further call for each was refused, and is free again
    assert (total["units"], total["calls"]) == (3, 3)
    assert total["held_tokens"] > 0


def test_a_run_that_is_killed_has_lost_no_answer(tmp_path: Path) -> None:
    """The driver is stopped before the first answer comes: only the engine can have kept it."""
    server, number = FaultServer(answers_at_most=0), 40
    store = ResponseStore(Storage.open(tmp_path / "store"))
    with running(server) as url:
        first = start_driver(url, tmp_path, number)
        wait_until(lambda: server.working == 16)
        first.send_signal(signal.SIGSTOP)
        server.answers_at_most = 12
        wait_until(lambda: len(store.index(store.segments())) == 12)
        answered = set(server.answered)
        first.kill()
        first.wait()
        wait_until(lambda: not server.connections)
        server.answers_at_most = None
        output, _ = start_driver(url, tmp_path, number).communicate(timeout=1500)
    answers, total = json.loads(output)
    assert answers == [reply(f"Question {i}") for i in range(number)]
    assert len(answered) == 12
    assert {server.received[prompt] for prompt in answered} == {1}
    assert (total["units"], total["reused"]) == (number, 0)
    # all 40 were reserved at the kill, and 20 in flight or about to be
    assert server.received.total() <= total["calls"] <= server.received.total() + 20


def test_ctrl_c_gives_back_at_once_what_was_not_sent(tmp_path: Path) -> None:
    server = FaultServer(answers_at_most=12)
    store = ResponseStore(Storage.open(tmp_path / "store"))
    with running(server) as url:
        driver = start_driver(url, tmp_path, 40)
        wait_until(lambda: len(store.index(store.segments())) == 12 and server.working == 16)
        driver.send_signal(signal.SIGINT)
        driver.communicate()
        assert driver.returncode != 0
    _, entries = read_log(Storage.open(tmp_path / "ledger"))
    total = Ledger.replay(CAPS, entries).summary().total
    assert server.received.total() == 28
    assert 28 <= total.calls == total.units <= 32  # at most four more were about to be sent


def test_an_engine_that_is_killed_has_lost_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DyingActor(EngineActor):  # in here, so that its process need not import this file
        """It dies once, with ten answers that it has told nobody and sixteen calls in flight."""

        def __init__(self, config: Any, driver: Any, answers: Storage, hold: Any) -> None:
            super().__init__(config, driver, answers, hold)
            self.died = Path(answers.path()).parent / "died"
            self.in_flight = Path(answers.path()).parent / "in flight"
            self.store = ResponseStore(answers)

        @ray.method(max_task_retries=0)  # type: ignore[untyped-decorator]
        def generate(self, model: ModelRef, requests: bytes, sampling: Sampling) -> bytes:
            answers = super().generate(model, requests, sampling)
            if not self.died.exists():
                while not self.in_flight.exists() or self.num_stored() < 10:
                    time.sleep(0.02)
                self.died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return cast(bytes, answers)

        def num_stored(self) -> int:
            return len(self.store.index(self.store.segments()))

    monkeypatch.setattr("baldistill.generation.pool.EngineActor", DyingActor)
    server, answered = FaultServer(answers_at_most=10), set[str]()

    def go_on() -> None:
        wait_until(lambda: server.working == 16)  # what the client has sent has arrived
        (tmp_path / "in flight").touch()
        wait_until((tmp_path / "died").exists)
        answered.update(server.answered)
        server.answers_at_most = None

    with running(server) as url, teacher(tmp_path, url, concurrency=16) as asked:
        thread = threading.Thread(target=go_on)
        thread.start()
        answers = asked.ask(questions(40), GREEDY, stage=1)
        thread.join()
        total = spent(asked)
    assert [a.text for a in answers] == [reply(f"Question {i}") for i in range(40)]
    assert len(answered) == 10
    assert {server.received[prompt] for prompt in answered} == {1}
    # the engine had sent others, whose answers died with it: each is a further call
    assert total["units"] == 40
    assert 40 < server.received.total() <= total["calls"] <= server.received.total() + 4


def not_a_disk(folder: Path) -> Storage:
    """A folder that counts as an object store: nothing in it can grow."""
    return Storage(str(folder), pafs.SubTreeFileSystem("/", pafs.LocalFileSystem()), str(folder))


def test_an_object_store_gets_its_answers_from_the_driver(tmp_path: Path) -> None:
    storage = not_a_disk(tmp_path)
    with running(FaultServer()) as url, teacher(storage, url) as asked:
        answers = asked.ask(questions(20), GREEDY, stage=1)
        assert asked.ask(questions(20), GREEDY, stage=1) == answers
        total = spent(asked)
    assert {name.partition(".")[2] for name in asked.store.segments()} == {"parquet"}
    assert len(asked.store.sent()) == total["calls"] == 20


def test_an_object_store_knows_what_was_not_sent(tmp_path: Path) -> None:
    server = FaultServer(answers_at_most=0)
    storage = not_a_disk(tmp_path)
    with running(server) as url:
        with teacher(storage, url, concurrency=4) as asked:

            def kill() -> None:
                wait_until(lambda: server.working == 4)
                server.key = "sk-another"
                ray.kill(asked.pool.actors[0], no_restart=False)

            thread = threading.Thread(target=kill)
            thread.start()
            with pytest.raises(UserError, match="key refused"):
                asked.ask(questions(40), GREEDY, stage=1)
            thread.join()
        with teacher(storage, url) as asked:
            # four were at the server, and at most four more were about to be sent
            assert 4 <= spent(asked)["calls"] <= 8


def test_a_key_of_the_workers_environment_reaches_the_server_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Ray's processes have it from their start; nothing that a run or Ray writes holds it."""
    key = os.environ[KEY_NAME]
    server = FaultServer(key=key)
    with running(server) as url, teacher(tmp_path, url, api_key_env=KEY_NAME) as asked:
        answers = asked.ask(questions(3), GREEDY, stage=1)
        server.key = "sk-another"  # this server repeats the key in its refusal
        with pytest.raises(UserError, match=f"key is read from {KEY_NAME}, which is set") as error:
            asked.ask(questions(5), GREEDY, stage=1)
    assert [answer.outcome for answer in answers] == ["answered"] * 3
    assert key not in str(error.value)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    written = [file for folder in (tmp_path, session / "logs") for file in folder.rglob("*")]
    assert len(written) > 10
    assert not [file for file in written if file.is_file() and key.encode() in file.read_bytes()]


def test_the_drivers_environment_is_not_sent_to_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_SUCH_KEY", "sk-of-the-driver-123456")
    server = FaultServer(key="sk-of-the-driver-123456")
    with (
        running(server) as url,
        teacher(tmp_path, url, api_key_env="NO_SUCH_KEY") as asked,
        pytest.raises(UserError, match="NO_SUCH_KEY, which is not set on the machine"),
    ):
        asked.ask(questions(3), GREEDY, stage=1)
    assert not server.answered


def start_driver(url: str, folder: Path, number: int) -> subprocess.Popen[str]:
    """A run of its own process, begun or begun again."""
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, address, url, str(folder), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def start_server(url: str | None = None) -> tuple[subprocess.Popen[str], str]:
    port = url.split(":")[2].split("/")[0] if url else "0"
    command = [sys.executable, str(SERVER), "--latency", "0.1", "--port", port]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def read_counts(url: str) -> Counter[str]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/counts") as answer:
        return Counter(json.load(answer)["received"])


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 1500
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
