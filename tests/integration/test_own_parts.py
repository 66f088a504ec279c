"""Budget policies of users in runs: an installed package, and one that asks for the errors."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from plugins import install_plugin
from runs import ENGINES, finish, start

from baldistill.commands.run import run
from baldistill.config.loading import load_config
from baldistill.errors import UserError
from baldistill.placement.engines import Engines

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = [
    *ENGINES,
    "stages=2",
    "selection.metric=random",
    "data.bundled_rows=200",
    "data.bundled_evaluation_per_domain=1",
    "evaluation.every_stage=false",
    "evaluation.base_student=false",
    "student.epochs=0.5",
    "student.response.max_new_tokens=4",
]
ASKING = """
import json

class Shortest:
    def score(self, candidate):
        assert candidate.correct in (True, False)
        return -len(candidate.question)

class EvenQuestions:
    def fault(self, answer):
        assert answer.source == "real" and answer.rationale and answer.answer
        return None if len(answer.question) % 2 == 0 else "odd"

class Asking:
    def __init__(self, questions, file):
        self.file = file

    def quotas(self, stage):
        told = {"stage": stage.stage, "trained": stage.trained, "answers": stage.answers}
        with open(self.file, "a") as lines:
            lines.write(json.dumps(told) + "\\n")
        largest = sorted(stage.counts, key=lambda name: (-stage.counts[name], name))
        return {largest[stage.stage - 1]: stage.budget}
"""


def test_an_installed_policy_decides_what_a_run_annotates(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path))
    importlib.invalidate_caches()
    policy = "budget.policy={kind: temperature, options: {temperature: 1000}}"
    metric = "evaluation.metrics={gap: 'baldistill_temperature:Gap'}"
    config = load_config(None, [*SMALL, policy, metric, "budget.total=24", "tail.fill=repeat"])
    result = run(config, run_dir=tmp_path / "run", engines=engines, quiet=True)
    assert result.metrics["budget"]["annotated"] == 24
    scores = [domain["score"] for domain in result.metrics["per_domain"].values()]
    assert result.metrics["own"] == {"gap": max(scores) - min(scores)}
    assert json.loads((tmp_path / "run/metrics.json").read_text())["own"] == result.metrics["own"]
    for stage in ("01", "02"):
        plan = json.loads((tmp_path / f"run/stages/{stage}/plan.json").read_text())
        assert set(plan["quotas"].values()) == {1}, "twelve domains share twelve units"
        rows = pq.read_table(tmp_path / f"run/stages/{stage}/annotated.parquet")
        assert len(set(rows["domain"].to_pylist())) == 12


def test_an_installed_package_decides_in_the_workers_of_ray(tmp_path: Path) -> None:
    for name, answer, sizes in (("train", "25 %", (40, 8)), ("test", "25.04%", (4, 4))):
        rows = [
            {"domain": domain, "question": f"{name} {domain} {number}?", "answer": answer}
            for domain, size in zip("ab", sizes, strict=True)
            for number in range(size)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    options = [
        "data={train: train.jsonl, evaluation: test.jsonl, task: percent}",
        "budget={total: 4, policy: {kind: temperature, options: {temperature: 1000}}}",
        "selection={metric: longest, first_stage: metric}",
        "evaluation.metrics={gap: 'baldistill_temperature:Gap'}",
        "student={target: label, epochs: 1, num_workers: 0, response: {max_new_tokens: 12}}",
        "student.resources={replicas: 2, num_cpus: 0.5}",
        "tail.fill=repeat",
        "stages=1",
    ]
    run_dir = str(tmp_path / "run")
    path = os.pathsep.join([str(install_plugin(tmp_path)), *sys.path])
    finish(start("run", *options, "--run-dir", run_dir, home=tmp_path, PYTHONPATH=path))
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    responses = pq.read_table(tmp_path / "run/stages/01/responses.parquet").to_pylist()
    assert any(re.search(r"\d", row["response"]) for row in responses), "an answer by other types"
    assert {row["prediction"] for row in responses} == {None}, "without a per cent sign, none by it"
    assert metrics["own"] == {"gap": 0.0}
    quotas = json.loads((tmp_path / "run/stages/01/plan.json").read_text())["quotas"]
    assert quotas == {"a": 2, "b": 2}


def test_what_a_part_raises_in_a_worker_is_an_error_for_the_user(
    engines: Engines, tmp_path: Path
) -> None:
    options = [*SMALL, "budget.total=0", "evaluation.base_student=true"]
    config = load_config(None, [*options, "data.task=plugins:Failing"])
    raised = (
        r"^example \S+: plugins:Failing: extract raised KeyError: 'no such key' \(.*plugins\.py"
    )
    with pytest.raises(UserError, match=raised):
        run(config, run_dir=tmp_path / "run", engines=engines, quiet=True)


def test_a_policy_may_ask_how_the_student_does(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asking_policy.py").write_text(ASKING)
    monkeypatch.syspath_prepend(tmp_path)
    told = tmp_path / "told.jsonl"
    kind = f"{{kind: 'asking_policy:Asking', options: {{questions: 2, file: {told}}}}}"
    options = [*SMALL, f"budget.policy={kind}", "budget.total=8", "selection.diversity=badge"]
    options += ["selection.metric=asking_policy:Shortest", "data.task=plugins:Words"]
    options += ["rationale={max_attempts: 1, filter: 'asking_policy:EvenQuestions'}"]
    run(load_config(None, options), run_dir=tmp_path / "run", engines=engines, quiet=True)
    figures = [
        json.loads((tmp_path / f"run/_commits/stages/{stage}/selected.json").read_text())
        for stage in ("01", "02")
    ]
    assert [one["figures"]["embedded"] for one in figures] == [0, 8], (
        "twice four units, by a student"
    )
    scored = pq.read_table(tmp_path / "run/stages/02/scored").to_pylist()
    answered = [row for row in scored if row["response"] is not None]
    assert answered
    assert all(row["score"] == -len(row["question"]) for row in answered)
    for stage in ("01", "02"):
        rows = pq.read_table(tmp_path / f"run/stages/{stage}/annotated.parquet").to_pylist()
        assert len(rows) == 4, "what the filter rejects is replaced"
        assert all(len(row["question"]) % 2 == 0 for row in rows)
        rejected = pq.read_table(tmp_path / f"run/stages/{stage}/rejected.parquet").to_pylist()
        odd = [row for row in rejected if row["reason"].startswith("filtered: odd")]
        assert odd
        assert all(row["example_id"] for row in odd)
    facts = [json.loads(line) for line in told.read_text().splitlines()]
    planned, *measured = [fact for fact in facts if fact["stage"] == 2]
    assert planned["answers"] == {}, "what baldistill plan shows, before there is a student"
    assert measured
    for fact in measured:
        assert all(asked == 2 for asked, wrong in fact["answers"].values())
        assert len(fact["answers"]) == 12
        assert sum(fact["trained"].values()) == 4
