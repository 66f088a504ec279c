"""A whole run in a bucket: a real S3 API on loopback (moto's server), no local run folder."""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from runs import answered, finish, kill_9, start, wait_until
from servers.fault_server import FaultServer, running

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
    "data.bundled_rows=300",
    "data.bundled_evaluation_per_domain=2",
    "evaluation.base_student=false",
    "student.epochs=1",
    "student.response.max_new_tokens=32",
    "rationale.on_mismatch=label_only",
    "rationale.max_attempts=1",
    "student.resources.replicas=1",
    "tail.fill=none",
    "teacher.kind=openai",
    "teacher.model=m",
]


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


def test_a_bucket_that_is_not_there_is_the_users_to_mend(bucket: str) -> None:
    with pytest.raises(UserError, match=r"(?s)cannot write to s3://nowhere/a\?.*credentials"):
        run_distillation(run_dir=bucket.replace("//runs/", "//nowhere/"), quiet=True)


def test_a_store_that_does_not_answer_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="cannot open s3://runs/a"):
        Storage.open("s3://runs/a?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
