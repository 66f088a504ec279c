"""`baldistill ask --teacher`: its calls are on the run's ledger, and paid once."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from runs import ENGINES, FINISHED, answered

import baldistill
from baldistill.bundled import model_dir
from baldistill.cli import app
from baldistill.commands.ask_teacher import TeacherReply, opened_teacher
from baldistill.config.loading import dump_config, load_config
from baldistill.run_folder.spending import Spending

pytestmark = pytest.mark.ray

QUESTION = "What is 12 plus 30?"


def spent(run: Path) -> Spending:
    found = baldistill.ledger(run)
    assert found is not None
    return found


def test_it_is_asked_once_within_the_caps(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(FINISHED, tmp_path / "run"))
    shutil.copytree(model_dir("student"), run / "stages/02/student", dirs_exist_ok=True)
    paid = spent(run).total.calls
    options = ["teacher=transformers", "student.response.max_new_tokens=8", *ENGINES]
    options += ["student.resources.num_cpus=1000"]  # of another machine: its engines are not needed
    config = load_config(run / "config.yaml", [*options, f"budget.calls={paid + 1}"])
    text = dump_config(config)
    (run / "config.yaml").write_text(text)
    stored = len(answered(run))

    app(["ask", str(run), QUESTION, "--teacher", "--json"], standalone_mode=False)
    first = json.loads(capsys.readouterr().out.splitlines()[-1])["teacher"]
    assert (first["answer"], first["reason"]) == ("42", None)
    with opened_teacher(run) as teacher:
        again = teacher.ask(QUESTION, domain="addition")
        refused = teacher.ask("What is 13 plus 30?", domain="addition")
    assert asdict(again) == first
    assert spent(run).summary.by_purpose["question"].calls == 1
    assert spent(run).total.calls == paid + 1
    assert len(answered(run)) == stored + 1
    assert refused == TeacherReply("", None, "refused by the cap on calls")
    assert (run / "config.yaml").read_text() == text
    baldistill.write_report(run)
