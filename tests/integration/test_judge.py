"""A judge behind a real server decides what is taught and how well the student does."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
from runs import decided
from servers.fault_server import running
from servers.judging import JudgingServer

from baldistill.answers.store import ResponseStore
from baldistill.commands.evaluate import evaluate
from baldistill.commands.judge_check import judge_check
from baldistill.commands.run import run
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.errors import UserError
from baldistill.placement.engines import Engines
from baldistill.placement.resources import Cluster, place
from baldistill.report.browse import browse
from baldistill.report.page import report
from baldistill.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

KINDS = ("good", "poor", "odd", "mad")


@pytest.fixture
def server() -> Iterator[tuple[JudgingServer, str]]:
    serving = JudgingServer()
    with running(serving) as url:
        yield serving, url


def rows(number: int) -> str:
    lines = (
        {
            "question": f"Write a {kind} text, number {i} of {d}.",
            "answer": f"{kind} {i}",
            "domain": d,
        }
        for i in range(number)
        for kind in KINDS
        for d in ("one", "two")
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


def config(folder: Path, url: str, *more: str) -> Config:
    model = f"kind: openai, base_url: {url}, api_key_env: BALDISTILL_TEST_KEY"
    resources = "resources: {replicas: 1, num_cpus: 0}"
    (folder / "train.jsonl").write_text(rows(3))
    (folder / "evaluation.jsonl").write_text(rows(1).replace("number", "evaluated"))
    (folder / "rubric.md").write_text("A text is good if it says so.\n")
    overrides = [
        f"data={{train: {folder}/train.jsonl, evaluation: {folder}/evaluation.jsonl}}",
        "data.task=judged",
        f"judge={{teacher: {{{model}, model: judge, {resources}}}, rubric: {folder}/rubric.md}}",
        f"teacher={{{model}, model: teacher, {resources}}}",
        "rationale={sees: question, accept: judge, max_attempts: 1}",
        "budget={total: 12, policy: naive}",
        "stages=1",
        "tail.fill=none",
        "selection.metric=random",
        "evaluation.base_student=false",
        "student.resources={replicas: 1, num_cpus: 0}",
        "student.num_workers=0",
        "student.epochs=0.5",
        "student.response.max_new_tokens=8",
    ]
    return load_config(None, [*overrides, *more])


def test_a_run_teaches_what_the_judge_accepts(
    tmp_path: Path, server: tuple[JudgingServer, str]
) -> None:
    serving, url = server
    settings, folder = config(tmp_path, url), tmp_path / "run"
    store = ResponseStore(Storage.open(folder / "responses"))
    placed = place(settings, Cluster.single(int(ray.cluster_resources()["CPU"])))
    with closing(Engines(settings, placed, store)) as engines:
        result = run(settings, run_dir=folder, engines=engines, quiet=True)
        first, asked = decided(folder), (serving.judged.copy(), serving.taught.copy())
        # a crash before the stage was committed: everything is decided again, and nothing is paid
        shutil.rmtree(folder / "_commits" / "stages")
        (folder / "metrics.json").unlink()
        again = run(settings, run_dir=folder, engines=engines, quiet=True)
    (tmp_path / "rubric.md").unlink()  # the run has kept its text
    looked = evaluate(str(folder), run_dir=tmp_path / "looked", quiet=True)
    assert looked.metrics["macro"] == result.metrics["macro"]
    assert (serving.judged, serving.taught) == asked
    assert decided(folder) == first
    assert again.metrics["budget"] == result.metrics["budget"]

    learnt = pq.read_table(folder / "stages/01/annotated.parquet").to_pylist()
    assert Counter(row["answer"].split()[0] for row in learnt) == {"good": 6, "odd": 6}
    assert {row["answer"] for row in learnt} <= {f"{k} text\nof two lines" for k in KINDS}
    assert {(row["rationale"], row["verified"]) for row in learnt} == {("Thinking of it.", True)}
    refused = pq.read_table(folder / "stages/01/rejected.parquet").to_pylist()
    reasons = Counter(row["reason"] for row in refused)
    assert set(reasons) == {"judged below 4", "unreadable verdict"}
    spent = result.metrics["budget"]
    assert spent["total"]["units"] == len(learnt)
    judgements = spent["by_purpose"]["judgement"]
    assert judgements["calls"] == serving.judged.total()
    assert set(serving.judged.values()) <= {1, 2}
    twice = 2 * reasons["unreadable verdict"]
    unreadable = {"unreadable verdict": 6 + twice}
    assert judgements["rejected"] == unreadable, "each odd one once, each mad one twice"

    marked = pq.read_table(folder / "stages/01/responses.parquet").to_pylist()
    assert len(marked) == 8
    assert all(row["verdict"] for row in marked)
    right = sum(row["verdict"].startswith(("4", "5")) for row in marked)
    assert sum(row["score"] for row in marked) == right
    assert result.metrics["metric"] == "judged"
    report(folder)
    page = (folder / "report/index.html").read_text("utf-8")
    assert "share of the student&#39;s answers that it accepts" in page
    assert "judgement" in page


def free_of_caps(folder: Path) -> dict[str, object]:
    return {name: found for name, found in decided(folder).items() if "caps" not in name}


def test_a_cap_leaves_answers_out_that_a_higher_one_lets_the_judge_read(
    tmp_path: Path, server: tuple[JudgingServer, str], capsys: pytest.CaptureFixture[str]
) -> None:
    serving, url = server
    more = ["stages=2", "budget.total=6", "evaluation.teacher=true"]
    settings = config(tmp_path, url, *more)
    placed = place(settings, Cluster.single(int(ray.cluster_resources()["CPU"])))
    with closing(Engines(settings, placed)) as engines:

        def done(folder: str, *caps: str) -> dict[str, Any]:
            capped = config(tmp_path, url, *more, *caps)
            return run(capped, run_dir=tmp_path / folder, engines=engines).metrics

        whole = done("whole")
        marked = pq.read_table(tmp_path / "whole/stages/01/responses.parquet")[
            "verdict"
        ].to_pylist()
        spent = sum(1 + said.startswith(("4: Odd", "unreadable")) for said in marked)
        spent -= marked.count("no answer")
        before = whole["budget"]["by_stage"]["1"]["calls"] - spent
        assert (whole["teacher"]["macro"], whole["teacher"]["left_out"]) == (0.5, {})
        assert whole["budget"]["by_stage"]["0"]["calls"] == 8 + 8 + 2 + 2, "2 odd, 2 mad"
        serving.judged.clear()  # as if nobody had asked
        none = done("capped", f"budget.calls={before}")
        assert none["left_out"] == {"verdict refused by the cap on calls": 8}
        assert (none["macro"], none["per_domain"]) == (None, {})
        assert "8 (verdict refused by the cap on calls): raise the cap" in capsys.readouterr().err
        report(tmp_path / "capped")
        some = done("capped", f"budget.calls={before + 4}")
        left = some["left_out"]["verdict refused by the cap on calls"]
        assert 1 <= left < 8
        assert sum(domain["count"] for domain in some["per_domain"].values()) == 8 - left
        assert some["stages"].keys() == {"stage 1"}
        report(tmp_path / "capped")
        browse(tmp_path / "capped")
        rows = (tmp_path / "capped/browse/rows-0000.js").read_text("ascii")
        assert rows.count('"verdict refused by the cap on calls"') == left
        page = (tmp_path / "capped/report/index.html").read_text("utf-8")
        assert f"{left} more answers count in no figure" in page
        first = (tmp_path / "capped/_commits/stages/01/student.json").read_bytes()
        again = done("capped")
    assert "left_out" not in again
    assert (tmp_path / "capped/_commits/stages/01/student.json").read_bytes() == first
    assert free_of_caps(tmp_path / "capped") == free_of_caps(tmp_path / "whole")
    assert set(serving.judged.values()) <= {1, 2}, "no verdict is paid again in a folder"
    assert again["stages"] == whole["stages"]
    assert again["teacher"] == whole["teacher"]


def test_a_judge_is_checked_beside_a_person(
    tmp_path: Path, server: tuple[JudgingServer, str]
) -> None:
    serving, url = server
    labels = {"good": True, "odd": True, "poor": False, "mad": False}
    lines = [
        {"question": "Q", "response": f"A {kind} text {i}", "label": labels[kind] ^ (i == 4)}
        for i in range(5)
        for kind in KINDS
    ]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    folder = tmp_path / "check"
    few = config(tmp_path, url, "budget.calls=3")
    with pytest.raises(UserError, match=r"cap on calls(.|\n)*raise budget\.calls"):
        judge_check(few, path, run_dir=folder, quiet=True)
    assert serving.judged.total() == 3
    elsewhere = "resources={replicas: 1, num_cpus: 1000}"  # the run itself is on another machine
    whole = config(tmp_path, url, f"student.{elsewhere}", f"teacher.{elsewhere}")
    result = judge_check(whole, path, run_dir=folder, quiet=True)
    assert serving.judged.total() == result.spent["calls"] == 5 + 5 + 2 * 5 + 2 * 5
    found = result.agreement
    assert (found.both, found.judge_alone, found.person_alone, found.neither) == (8, 2, 1, 4)
    assert result.unreadable == 5
    assert {one.response for one in result.differing} == {
        "A good text 4", "A odd text 4", "A poor text 4"
    }  # fmt: skip
    assert not serving.taught
