"""Tasks of lm-eval are checked before a run begins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from baldistill.config.loading import load_config
from baldistill.errors import ConfigError, MissingPackageError
from baldistill.student.benchmarks import asked_benchmarks, check_benchmarks


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    check_benchmarks([])
    with pytest.raises(MissingPackageError, match=r"baldistill\[benchmarks\]"):
        check_benchmarks(["hellaswag"])


def test_names_are_looked_up_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    own = tmp_path / "own.yaml"
    with pytest.raises(ConfigError, match=r"there is no file .*own\.yaml"):
        check_benchmarks(["hellaswag", str(own)])
    own.write_text("task: own")
    check_benchmarks(["hellaswag", "mmlu", str(own)])


@pytest.mark.slow
def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    pytest.importorskip("lm_eval")
    check_benchmarks(["ai2_arc"])  # a tag, of several tasks
    with pytest.raises(ConfigError, match=r"no task 'helaswag': did you mean hellaswag") as error:
        check_benchmarks(["helaswag"])
    assert "lm-eval ls tasks" in str(error.value)


def test_another_text_in_a_task_file_is_another_task(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("task: own")
    first = asked_benchmarks(["hellaswag", str(own)])
    assert first[0] == "hellaswag"
    assert asked_benchmarks(["hellaswag", str(own)]) == first
    own.write_text("task: own\nlimit: 3")
    assert asked_benchmarks(["hellaswag", str(own)]) != first


def test_one_task_may_stand_without_a_list() -> None:
    config = load_config(None, ["evaluation.benchmarks=hellaswag", "evaluation.lm_eval.limit=5"])
    assert config.evaluation.benchmarks == ("hellaswag",)
    assert config.evaluation.lm_eval.limit == 5
    assert "benchmarks" not in load_config().model_dump()["evaluation"]
    for wrong, words in (
        ("evaluation.benchmarks=[a, a]", "named twice"),
        ("evaluation.lm_eval.limit=0", "greater than or equal to 1"),
        ("evaluation.lm_eval.shots=5", "evaluation.lm_eval.shots"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config(None, [wrong])
