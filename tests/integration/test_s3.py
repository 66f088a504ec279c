"""A whole run in a bucket: a real S3 API on loopback (moto's server), no local run folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from runs import WAIT_S, answered, finish, kill_9, start, wait_until
from servers.fault_server import FaultServer, reply, running

from baldistill.commands.run import run as run_distillation
from baldistill.errors import UserError
from baldistill.generation.types import ModelRef
from baldistill.report.page import report
from baldistill.storage import Storage

pytestmark = pytest.mark.slow

SECRET = "open-sesame-0123456789"
TINY = [
    "stages=2",
    "budget.total=80",
    "data.bundled_rows=200",
    "data.bundled_evaluation_per_domain=1",
    "evaluation.base_student=false",
    "evaluation.every_stage=false",
    "selection.metric=random",
    "student.epochs=0.5",
    "student.response.max_new_tokens=8",
    "rationale.on_mismatch=label_only",
    "rationale.max_attempts=1",
    "student.resources.replicas=1",
    "tail.fill=none",
    "teacher.kind=openai",
    "teacher.model=m",
]

DRIVER = """
import json, sys
import ray
from baldistill.answers.store import ResponseStore
from baldistill.config.teachers import OpenAITeacher
from baldistill.core.ledger import Caps
from baldistill.errors import UserError
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef, Sampling
from baldistill.placement.cluster import connected
from baldistill.run_folder.lock import only_run_in, only_user_of
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.teacher import Question, Teacher

uri, url, number = sys.argv[1:]
storage = Storage.open(uri)
store = ResponseStore(storage.sub("responses"))
try:
    with (
        only_run_in(storage, beat=0.5, silence=3.0),
        only_user_of(store.storage, storage),
        connected(),  # which has patience with a busy machine
    ):
        config = OpenAITeacher(model="m", base_url=url, concurrency=8)
        bundle = {"CPU": 0.25}
        pool = Pool.start(config, ModelRef("m"), replicas=1, bundle=bundle, batch_size=8,
                          answers=store.storage)
        ledger = start_ledger(storage.sub("ledger"), store, Caps(calls=int(number) + 30))
        teacher = Teacher(pool, ledger, store, config, load_prompts("compact", model="bundled"))
        questions = [Question(f"Question {i}", "rationale", "d0") for i in range(int(number))]
        answers = teacher.ask(questions, Sampling(max_new_tokens=20), stage=1)
        print(json.dumps([[a.text for a in answers], ray.get(ledger.summary.remote())["total"]]))
except UserError as error:
    sys.exit(f"error: {error}")
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URI of a bucket on a server of its own; credentials are in the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/runs", method="PUT"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"s3://runs/a?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


def everything(storage: Storage) -> dict[str, bytes]:
    infos = storage.fs.get_file_info(pafs.FileSelector(storage.root, recursive=True))
    names = [info.path.removeprefix(f"{storage.root}/") for info in infos if info.is_file]
    return {name: storage.read_bytes(name) for name in names}


def test_a_run_in_a_bucket_is_killed_resumed_and_reported(bucket: str, tmp_path: Path) -> None:
    """The teacher falls silent in stage 2, so that the first run is at work until it is killed."""
    storage = Storage.open(bucket)
    server = FaultServer(answers_at_most=50)
    with running(server) as url:
        command = ["run", "--run-dir", bucket]
        options = [*TINY, f"teacher.base_url={url}"]
        first = start(*command, *options, home=tmp_path)
        wait_until(lambda: storage.exists("_commits/stages/01/annotated.json"), first)

        refused = finish(start(*command, *options, home=tmp_path), status=2)
        assert "another run is at work in s3://runs/a" in refused

        assert first.poll() is None, "the run must be at work when it is killed"
        kill_9(first)
        before = set(answered(storage))
        assert len(before) >= 40

        server.answers_at_most = None
        output = finish(start(*command, home=tmp_path))  # without a config: the folder's own
    ids = answered(storage)
    assert len(ids) == len(set(ids)), "an answered call was made again"
    assert before <= set(ids)

    left = everything(storage)
    assert set(left) >= {"metrics.json", "config.yaml", "log.txt", "report/index.html"}
    assert not [name for name in left if name.startswith(("_lock/", "corpus/staging/"))]
    assert left["log.txt"].decode().count(" Ray: ") == 2, "of both runs"
    assert not [name for name, data in left.items() if SECRET.encode() in data]
    assert SECRET not in output
    on_disk = [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("metrics.json")]
    assert on_disk == [], "nothing of the run folder is on the disk"

    page = report(bucket)
    assert page.startswith("s3://runs/a/report/index.html?endpoint_override=")
    folder = Path(ModelRef("stages/02/student", storage).resolve())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(os.listdir(folder))


def driver(uri: str, url: str, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, uri, url, str(number)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def send_to_all(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process and all that it started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    family = {process.pid}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_run_that_was_suspended_while_another_took_its_bucket_pays_no_more(bucket: str) -> None:
    """Both are at work when the first goes on. What it had in flight may be paid twice."""
    uri = bucket.replace("//runs/a?", "//runs/suspended?")
    server = FaultServer(answers_at_most=30)
    with running(server) as url:
        first = driver(uri, url, 140)
        stored = Storage.open(uri)
        wait_until(lambda: server.working == 8 and len(answered(stored)) == 30, first)
        send_to_all(first, signal.SIGSTOP)
        second = driver(uri, url, 140)
        try:
            wait_until(lambda: server.working > 8, second)
            server.answers_at_most = 70
            wait_until(lambda: server.answered.total() == 70 and server.working >= 8, second)
            send_to_all(first, signal.SIGCONT)
            told, _ = first.communicate(timeout=WAIT_S)
            server.answers_at_most = None
            output, _ = second.communicate(timeout=WAIT_S)
        finally:
            for process in (first, second):
                if process.poll() is None:
                    send_to_all(process, signal.SIGKILL)
    assert first.returncode != 0
    assert "error: another run took over s3://runs/suspended" in told
    assert "Traceback" not in told
    assert second.returncode == 0, output
    texts, total = json.loads(output.splitlines()[-1])
    assert texts == [reply(f"Question {i}") for i in range(140)]
    assert len(server.received) == 140
    assert server.received.total() <= 140 + 8 + 8, "in flight when suspended, and at its end"
    assert server.received.total() <= total["calls"], "the first one sends nothing unnoticed"
    assert total["calls"] <= 170, "the cap"


def test_a_run_that_lost_its_bucket_ends_with_a_message(bucket: str, tmp_path: Path) -> None:
    """Its sign of life is gone, as after another run has counted it as dead."""
    uri = bucket.replace("//runs/a?", "//runs/lost?")
    server = FaultServer(answers_at_most=3)
    with running(server) as url:
        process = start("run", "--run-dir", uri, *TINY, f"teacher.base_url={url}", home=tmp_path)
        storage = Storage.open(uri)
        wait_until(lambda: server.answered.total() == 3, process)
        for name in storage.list("_lock"):
            storage.delete(f"_lock/{name}")
        output = finish(process, status=2)
    assert "error: another run took over s3://runs/lost" in output


def test_a_bucket_that_is_not_there_is_the_users_to_mend(bucket: str) -> None:
    with pytest.raises(UserError, match=r"(?s)cannot write to s3://nowhere/a\?.*credentials"):
        run_distillation(run_dir=bucket.replace("//runs/", "//nowhere/"), quiet=True)


def test_a_store_that_does_not_answer_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="cannot open s3://runs/a"):
        Storage.open("s3://runs/a?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
