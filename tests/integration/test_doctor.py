"""`baldistill doctor`: each thing that would keep a run from its end is found, with the way out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from baldistill.cli import app
from baldistill.commands.doctor import Finding, doctor, worst
from baldistill.config.loading import load_config

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
KEY = "sk-canary-31415926535"


@contextmanager
def server(status: int, body: object) -> Iterator[str]:
    """Answer every request alike; give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1"
    finally:
        listening.shutdown()
        listening.server_close()


def found(tmp_path: Path, *options: str) -> dict[str, Finding]:
    config = load_config(None, list(options))
    findings = list(doctor(config, run_dir=tmp_path / "new" / "run"))
    assert KEY not in str(findings)
    return {finding.subject: finding for finding in findings}


def test_the_quickstart_has_no_problem(tmp_path: Path) -> None:
    findings = found(tmp_path)
    assert worst(findings.values()) == "fine"
    assert set(findings) == {"packages", "storage", "Ray", "resources", "student"}
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_server_is_asked_for_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    options = ("teacher.kind=openai", "teacher.model=big")
    models = {"object": "list", "data": [{"id": n, "object": "model"} for n in ("big", "small")]}
    refusal = {"error": {"message": f"bad key {KEY}"}}
    with server(200, models) as url:
        fine = found(tmp_path, *options, f"teacher.base_url={url}")["teacher"]
        assert (fine.state, fine.fix) == ("fine", "")
        assert "a key in OPENAI_API_KEY" in fine.text
        other = found(tmp_path, *options, f"teacher.base_url={url}", "teacher.model=none")
        assert other["teacher"].state == "problem"
        assert other["teacher"].fix == "set teacher.model: big, small"
    with server(401, refusal) as url:
        refused = found(tmp_path, *options, f"teacher.base_url={url}")["teacher"]
        assert refused.state == "problem"
        assert "does not accept the key" in refused.text
    with server(404, {"error": "no such page"}) as url:
        silent = found(tmp_path, *options, f"teacher.base_url={url}")["teacher"]
        assert silent.state == "warning"
        assert "does not list its models" in silent.text
    gone = found(tmp_path, *options, f"teacher.base_url={url}")["teacher"]
    assert gone.state == "problem"
    assert "start the server" in gone.fix


def test_a_key_that_is_needed_and_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    finding = found(tmp_path, "teacher.kind=openai", "teacher.model=big")["teacher"]
    assert finding.state == "problem"
    assert "there is no OPENAI_API_KEY" in finding.text


def test_all_problems_are_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    options = [f"data.train={tmp_path}/none.jsonl", f"student.model={tmp_path}/none"]
    options += ["student.resources.num_cpus=99"]
    arguments = ["doctor", *options, "--run-dir", str(tmp_path / "file"), "--json"]
    assert app(arguments, standalone_mode=False) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["state"] == "problem"
    problems = {one["subject"]: one["text"] for one in said["findings"] if one["state"] != "fine"}
    assert set(problems) == {"data.train", "storage", "resources", "student"}
    assert "does not exist" in problems["data.train"]
    assert "student.resources.num_cpus" in problems["resources"]
    assert "cannot load the model" in problems["student"]
    assert all(one["fix"] for one in said["findings"] if one["state"] != "fine")


def test_benchmarks_are_looked_up(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    missing = found(tmp_path, f"evaluation.benchmarks={tmp_path}/none.yaml")["benchmarks"]
    assert missing.state == "problem"
    assert "there is no file" in missing.text
    (tmp_path / "own.yaml").write_text("task: own")
    own = found(tmp_path, f"evaluation.benchmarks={tmp_path}/own.yaml")["benchmarks"]
    assert own.state == "fine"
    assert own.text.startswith("lm-eval 0.")


def test_a_package_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    finding = next(doctor(load_config()))
    assert (finding.subject, finding.state) == ("packages", "warning")
    assert "pip install -e ." in finding.fix


def test_a_model_that_is_too_large_is_said_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    shape = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
    shape |= {"num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256}
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **shape}
    (folder / "config.json").write_text(json.dumps(config))
    finding = found(tmp_path, f"student.model={folder}")["student"]
    assert finding.state == "problem"
    assert finding.text.startswith("70.6 B parameters, full fine-tuning: some 1,0")
    assert "student.lora" in finding.fix
