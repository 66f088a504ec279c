"""The rubric: shown as it is, kept in the run folder, and the same through a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.config.judge import JudgeConfig
from baldistill.errors import ConfigError
from baldistill.generation.types import plain_text
from baldistill.storage import Storage
from baldistill.teacher.rubric_judge import Rubric, load_rubric


def config(path: Path) -> JudgeConfig:
    return JudgeConfig.model_validate({"teacher": "transformers", "rubric": str(path)})


def test_the_judge_sees_rubric_question_and_text_and_no_more_than_there_is() -> None:
    rubric = Rubric("Be brief.", (0, 3), 2)
    text = plain_text(rubric.prompt("Why?", "Because.", "So."))
    for part in ("Be brief.", "Why?", "Because.", "So.", "from 0, the worst, to 3, the best"):
        assert text.count(part) == 1
    assert "reference" not in plain_text(rubric.prompt("Why?", "Because."))


def test_a_rubric_stays_as_a_run_began_with_it(tmp_path: Path) -> None:
    path, folder = tmp_path / "rubric.md", Storage.open(tmp_path / "run")
    path.write_text("Be brief.\n")
    first = load_rubric(config(path), folder, "rubric.txt")
    assert first.text == "Be brief."
    assert load_rubric(config(path), folder, "rubric.txt") == first
    path.write_text("Be long.")
    with pytest.raises(ConfigError, match=r"has changed since(.|\n)*another --run-dir"):
        load_rubric(config(path), folder, "rubric.txt")
    path.unlink()
    assert load_rubric(config(path), folder, "rubric.txt") == first, "the folder has its own"


def test_a_rubric_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"judge\.rubric: .*no\.md does not exist"):
        load_rubric(config(tmp_path / "no.md"))
    (tmp_path / "empty.md").write_text(" \n")
    with pytest.raises(ConfigError, match="must say what a good answer is"):
        load_rubric(config(tmp_path / "empty.md"))
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_rubric(config(tmp_path / "latin.md"))
