"""Canaries: no file of a run, no log and no output holds a key, whoever repeats it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from servers.fault_server import FaultServer, running
from servers.hostile import ANSWERS, ECHOES

from baldistill.commands.run import run
from baldistill.config.loading import load_config

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

KEY_NAME = "BALDISTILL_TEST_KEY"  # see conftest.py
SIGNATURE = "canary0signature1of2a3url"
URL = f"https://b.s3.amazonaws.com/a?X-Amz-Algorithm=A&X-Amz-Signature={SIGNATURE}&X-Amz-Date=2"


def corpus(folder: Path) -> Path:
    """Rows, and bad rows with the URL, some across the end of what is quoted of them."""
    rows: list[dict[str, Any]] = [
        {"question": f"What is {i} + 1?", "answer": str(i + 1), "domain": f"d{i % 2}"}
        for i in range(80)
    ]
    rows += [
        {"question": "x" * fill + URL, "domain": "d0"} for fill in (0, 350, 380, 400, 420, 440)
    ]
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def held_by(folder: Path) -> dict[str, str]:
    """The files below a folder as text; tables as the text of their rows and of their schema."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes().decode("latin-1")
        if path.is_file() and path.suffix == ".parquet":
            table: pa.Table = pq.read_table(path)
            found[str(path.relative_to(folder))] += f"{table.to_pylist()} {table.schema}"
    return found


def test_nothing_that_a_run_leaves_holds_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = tuple(name for name in ECHOES if not ANSWERS[name].may_stop)
    server = FaultServer(key=os.environ[KEY_NAME], hostile_share=0.6, hostile_names=names)
    options = [
        f"data.train={corpus(tmp_path)}", "data.max_bad_fraction=0.2", "stages=1",
        "budget.total=30", "budget.policy=natural", "tail.fill=none",
        "evaluation.base_student=false", "student.epochs=1", "student.num_workers=0",
        "student.response.max_new_tokens=16", "rationale.on_mismatch=keep",
        "teacher.kind=openai", "teacher.model=m", f"teacher.api_key_env={KEY_NAME}",
        "teacher.max_retries=1",
    ]  # fmt: skip
    folder = tmp_path / "run"
    with running(server) as url:
        run(load_config(None, [*options, f"teacher.base_url={url}"]), run_dir=folder)
    assert server.hostilities.keys() == set(names)
    written = held_by(folder)
    assert any("***" in text for name, text in written.items() if "rejected" in name)
    assert any("X-Amz-Signature=***" in text for name, text in written.items() if "quar" in name)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    written |= held_by(session / "logs") | {"output": "".join(capfd.readouterr())}
    for secret in (os.environ[KEY_NAME], os.environ[KEY_NAME][:12], SIGNATURE, SIGNATURE[:8]):
        assert [name for name, text in written.items() if secret in text] == []
