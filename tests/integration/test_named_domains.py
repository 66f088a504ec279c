"""Domains that the user names: the teacher is asked once, within the caps, and never again."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from servers.fault_server import running
from servers.sorting import SortingServer
from typer.testing import CliRunner

from baldistill.answers.store import ResponseStore
from baldistill.cli import app
from baldistill.commands.plan import plan
from baldistill.commands.run import run
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.errors import DataError, UserError
from baldistill.placement.engines import Engines
from baldistill.placement.resources import Cluster, place
from baldistill.report.page import report
from baldistill.storage import Storage

pytest.importorskip("sklearn", reason="an environment made before scikit-learn came in")
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

WORDS = {"much": "sums", "Spell": "letters", "Paint": "walls"}
SIZES = {"How much is {} plus 1?": 60, "Spell number {} backwards.": 20, "Paint wall {}.": 6}
ASKED = 40


@pytest.fixture
def server() -> Iterator[tuple[SortingServer, str]]:
    serving = SortingServer(domains=WORDS)
    with running(serving) as url:
        yield serving, url


@pytest.fixture
def corpora(tmp_path: Path) -> tuple[str, str]:
    """The same rows in one file, and in three files in another order."""
    rows = [
        json.dumps({"question": text.format(f"{i} odd" if i == 3 else i), "answer": str(i)})
        for text, size in SIZES.items()
        for i in range(size)
    ]
    random.Random(1).shuffle(rows)
    cut = tmp_path / "cut"
    cut.mkdir()
    (tmp_path / "whole.jsonl").write_text("\n".join(rows))
    for number in range(3):
        (cut / f"{number}.jsonl").write_text("\n".join(rows[2 - number :: 3]))
    return str(tmp_path / "whole.jsonl"), str(cut)


def options(url: str, *more: str) -> list[str]:
    return [
        "data.columns.domain=null",
        f"data.domains={{names: {{sums: additions, letters: null, walls: ''}}, sample: {ASKED}}}",
        f"teacher={{kind: openai, base_url: {url}, api_key_env: BALDISTILL_TEST_KEY, model: t, "
        "resources: {replicas: 1, num_cpus: 0}}",
        "student.resources={replicas: 1, num_cpus: 0}",
        "student.response.max_new_tokens=4",
        "student.num_workers=0",
        "stages=1",
        *more,
    ]


def domains(corpus: str, folder: Path, *more: str) -> tuple[dict[str, object], str]:
    command = ["data", "domains", corpus, *more, "--run-dir", str(folder), "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1]), " ".join(done.stderr.split())


def config(corpus: str, url: str, *more: str) -> Config:
    return load_config(None, [f"data.train={corpus}", *options(url, *more)])


def test_the_teacher_is_asked_once_whatever_comes_after(
    server: tuple[SortingServer, str], corpora: tuple[str, str], tmp_path: Path
) -> None:
    serving, url = server
    whole, cut = corpora
    folder, out = tmp_path / "run", tmp_path / "out.parquet"
    found, shown = domains(whole, folder, *options(url), "--out", str(out))
    sizes = {d["name"]: d["train"] + d["evaluation"] for d in found["domains"]}
    assert sizes == {"sums": 60, "letters": 20, "walls": 6}
    assert all(len(d["typical"]) == 3 for d in found["domains"])
    assert found["agreement"]["count"] == ASKED
    assert found["agreement"]["accuracy"] > 0.9
    assert "asked which domain each of 40 questions is of: at most 40 calls" in shown
    assert f"{serving.sorted.total()} calls" in shown
    assert f"--run-dir {folder}: no answer is paid again" in shown
    assert len(serving.sorted) == ASKED
    assert all(count == 1 + ("odd" in asked) for asked, count in serving.sorted.items())
    told = {row["question"]: row["domain"] for row in pq.read_table(out).to_pylist()}
    assert all(domain == WORDS[next(w for w in WORDS if w in q)] for q, domain in told.items())

    asked = serving.sorted.copy()
    assert domains(whole, folder, *options(url))[0] == found, "the corpus is there"
    shutil.rmtree(folder / "_commits")
    assert domains(whole, folder, *options(url))[0] == found, "the answers are there"
    planned = plan(config(whole, url), run_dir=folder, quiet=True)
    assert planned.counts == {d["name"]: d["train"] for d in found["domains"]}
    assert serving.sorted == asked
    again, _ = domains(cut, tmp_path / "cut run", *options(url))
    assert again["domains"] == found["domains"], "whatever the order of rows and files"
    assert serving.sorted == asked + Counter(set(asked)), "another folder, the same questions"


def test_a_run_asks_by_itself_and_says_what_it_cost(
    server: tuple[SortingServer, str], corpora: tuple[str, str], tmp_path: Path
) -> None:
    serving, url = server
    settings, folder = config(corpora[0], url, "budget.total=0"), tmp_path / "run"
    store = ResponseStore(Storage.open(folder / "responses"))
    placed = place(settings, Cluster.single(int(ray.cluster_resources()["CPU"])))
    with closing(Engines(settings, placed, store)) as engines:
        result = run(settings, run_dir=folder, engines=engines, quiet=True)
    spent = result.metrics["budget"]["by_purpose"]
    assert spent.keys() == {"domain"}
    assert spent["domain"]["calls"] == serving.sorted.total() > ASKED
    unread = serving.sorted.total() - ASKED
    assert spent["domain"]["rejected"] == {"names no domain": unread}
    assert set(result.metrics["per_domain"]) == {"sums", "letters", "walls"}
    page = Path(report(str(folder))).read_text()
    assert "Domains are named by the user" in page


def test_a_cap_holds_and_what_was_paid_is_kept(
    server: tuple[SortingServer, str], corpora: tuple[str, str], tmp_path: Path
) -> None:
    serving, url = server
    folder = tmp_path / "run"
    with pytest.raises(UserError, match=r"cap on calls .* raise budget\.calls, or lower"):
        domains(corpora[0], folder, *options(url, "budget.calls=15"))
    assert serving.sorted.total() == 15
    domains(corpora[0], folder, *options(url))
    assert serving.sorted == Counter({q: 1 + ("odd" in q) for q in serving.sorted})


def test_mistakes_are_said(
    server: tuple[SortingServer, str], corpora: tuple[str, str], tmp_path: Path
) -> None:
    serving, url = server
    with pytest.raises(DataError, match=r"sort 40 questions first .*baldistill data domains"):
        CliRunner().invoke(
            app, ["data", "describe", corpora[0], *options(url)], catch_exceptions=False
        )
    with pytest.raises(DataError, match="this command calls nobody"):
        plan(config(corpora[0], url), quiet=True)
    assert not serving.sorted
    with pytest.raises(UserError, match="it is not asked: leave --run-dir out"):
        domains(corpora[0], tmp_path / "none", "data.columns.domain=answer")
    serving.domains = {}
    with pytest.raises(DataError, match=r"any of 40 questions\. Its first answer: I do not know"):
        domains(corpora[0], tmp_path / "silent", *options(url))
    assert set(serving.sorted.values()) == {2}
