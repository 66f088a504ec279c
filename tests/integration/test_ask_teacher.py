"""`baldistill ask --teacher`: its calls are on the run's ledger, and paid once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from runs import ENGINES, answered

import baldistill
from baldistill.bundled import model_dir
from baldistill.cli import app
from baldistill.config.loading import dump_config, load_config
from baldistill.run_folder.spending import Spending

pytestmark = pytest.mark.ray

FINISHED = Path(__file__).resolve().parents[1] / "run_folders" / "0.1.0" / "finished"


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
    config = load_config(run / "config.yaml", [*options, f"budget.calls={paid + 1}"])
    text = dump_config(config)
    (run / "config.yaml").write_text(text)
    stored = len(answered(run))

    def ask(question: str) -> dict[str, Any]:
        app(["ask", str(run), question, "--teacher", "--json"], standalone_mode=False)
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    first = ask("What is 12 plus 30?")
    assert first["teacher"]["answer"] == "42"
    assert first["teacher"]["reason"] is None
    assert ask("What is 12 plus 30?") == first
    assert spent(run).summary.by_purpose["question"].calls == 1
    assert spent(run).total.calls == paid + 1
    assert len(answered(run)) == stored + 1
    refused = ask("What is 13 plus 30?")["teacher"]
    assert (refused["text"], refused["reason"]) == ("", "refused by the cap on calls")
    assert spent(run).total.calls == paid + 1
    assert (run / "config.yaml").read_text() == text
    baldistill.write_report(run)
