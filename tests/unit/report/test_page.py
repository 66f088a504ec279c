"""The page of a run: complete, unfinished, empty, with strange names; the same every time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from baldistill.config import Config
from baldistill.config.loading import dump_config
from baldistill.core.ledger import Reserve, to_record
from baldistill.errors import UserError
from baldistill.report.page import report
from baldistill.yaml12 import read_yaml, write_yaml

WriteRun = Callable[..., str]
FIGURES = {
    "accuracy-by-stage",
    "accuracy-by-domain",
    "domain-sizes",
    "quotas",
    "annotated",
    "budget",
    "loss",
    "time",
}
SVG = "{http://www.w3.org/2000/svg}svg"
STRANGE = (
    *("<script>alert(1)</script>", "$x^2$ \\frac", "a&b \"'", "日本語", "x" * 300, "nul\x07l"),
    *("[/INST] chat", "one\x85two\u2028three", "\u202egnp.exe", "\ufffe", "a\x1b[31m"),
    *("{{ question }}{% raw %}", "]]>", "\\mathdefault{$", "e\u0301\U0010ffff", "%s {0}"),
)


class _Page(HTMLParser):
    """Checks that tags nest; collects tags, ids, text and addresses outside the page."""

    _EMPTY = frozenset(("meta", "link", "br", "img", "input", "hr"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href") and (value or "").partition(":")[1]:
                self.outside.append(value or "")
        if tag not in self._EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(run: str) -> _Page:
    path = report(run)
    assert path == f"{run}/report/index.html"
    page = _Page(Path(path).read_text("utf-8"))
    assert "script" not in page.tags
    assert page.outside == []
    assert len(page.ids) == len(set(page.ids))
    return page


def figures_of(run: str) -> dict[str, ElementTree.Element]:
    """Parse the figures, by name, and check that each has a PNG."""
    folder = Path(run) / "report"
    found = {path.stem: ElementTree.parse(path).getroot() for path in folder.glob("*.svg")}
    for name, root in found.items():
        assert root.tag == SVG
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return found


def test_finished_run_shows_everything(write_run: WriteRun) -> None:
    run = write_run(quarantined={"duplicate": 5, "empty": 2})
    page = page_of(run)
    assert set(figures_of(run)) == FIGURES
    final = json.loads((Path(run) / "metrics.json").read_text())
    base = final["stages"]["base"]
    assert f"{final['macro']:.3f}" in page.text
    assert f"base {base['macro']:.3f}, {final['macro'] - base['macro']:+.3f}" in page.text
    assert "of 200 (100%)" in page.text
    assert "Unfinished" not in page.text
    assert "duplicate 5, empty 2" in page.text
    assert "the rejected one's question" in page.text
    assert "a warning about and so on" in page.text
    assert "could not fill the quotas of domain-001 (dry)" in page.text
    assert "budget:\n  total: 200" in page.text
    for domain in final["per_domain"]:
        assert domain in page.text


def test_calls_of_the_table_are_those_of_the_ledger(write_run: WriteRun) -> None:
    run = write_run()
    spent = json.loads((Path(run) / "metrics.json").read_text())["budget"]
    page = page_of(run)
    assert f"{spent['total']['calls']:,}" in page.text
    for purpose, figures in spent["by_purpose"].items():
        assert purpose in page.text
        assert f"{figures['prompt_tokens']:,}" in page.text


BEFORE_STAGES = {"accuracy-by-stage", "accuracy-by-domain", "domain-sizes", "time"}


@pytest.mark.parametrize(
    ("whole", "begun", "told", "figures"),
    [
        (2, (), "stage 2 of 4 has done plan", FIGURES),
        (0, (), "base has done metrics", BEFORE_STAGES),
        (0, ("plan",), "stage 1 of 4 has done plan.", BEFORE_STAGES | {"quotas", "annotated"}),
        (1, ("plan", "scored"), "stage 2 of 4 has done plan, scored.", FIGURES),
    ],
)
def test_unfinished_run_shows_what_there_is(
    write_run: WriteRun, whole: int, begun: tuple[str, ...], told: str, figures: set[str]
) -> None:
    run = write_run(whole=whole, begun=begun)
    page = page_of(run)
    assert "Unfinished." in page.text
    assert told in page.text
    assert f"--run-dir {run}" in page.text
    assert set(figures_of(run)) == figures


def test_run_that_only_began(tmp_path: Path, write_run: WriteRun) -> None:
    whole = write_run()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.yaml").write_bytes((Path(whole) / "config.yaml").read_bytes())
    page = page_of(str(tmp_path / "begun"))
    assert "corpus is not ready" in page.text
    assert figures_of(str(tmp_path / "begun")) == {}


def test_run_without_stages(write_run: WriteRun) -> None:
    run = write_run(budget=0)
    page = page_of(run)
    assert "budget.total is 0" in page.text
    assert "clusters of the questions" not in page.text
    assert "Unfinished" not in page.text
    assert set(figures_of(run)) == BEFORE_STAGES


def test_agreement_with_the_teacher_is_not_called_accuracy(write_run: WriteRun) -> None:
    run = write_run()
    assert "Accuracy per domain and stage" in page_of(run).text
    config = Path(run) / "config.yaml"
    values = read_yaml(config.read_text("utf-8"))
    values["evaluation"]["gold"] = "teacher"
    config.write_text(write_yaml(values), "utf-8")
    text = page_of(run).text.partition("Config and versions")[0]
    assert "Agreement with the teacher per domain and stage" in text
    assert "figures say how often the student agrees with its teacher" in text
    assert "accuracy" not in text.lower().replace("#table-accuracy", "")


def test_calls_before_anything_is_annotated_are_drawn(write_run: WriteRun) -> None:
    """A run that is asking its first questions."""
    run = write_run(whole=0, begun=("plan", "scored", "selected"))
    asked = Reserve("a", "rationale", 1, "domain-001", max_tokens=90)
    (Path(run) / "ledger").mkdir()
    (Path(run) / "ledger/00000000.jsonl").write_text(json.dumps(to_record(asked)) + "\n")
    page = page_of(run)
    assert "budget" in figures_of(run)
    assert "rationale" in page.text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"columns": {"domain": None}, "domains": {"clusters": 8}},
            "Domains are clusters of the questions by their words (data.domains.clusters).",
        ),
        (
            {"columns": {"domain": None}, "domains": {"names": ["a", "b"]}},
            "Domains are named by the user, and a classifier sorted questions as the teacher",
        ),
        (
            {"columns": {"messages": "talks"}},
            "Questions are the last turn of the user in each chat of `talks`, and the gold answer",
        ),
        (
            {"columns": {"messages": "talks", "each_turn": True}},
            "Questions are all turns of the user that the assistant answers in the chats of",
        ),
    ],
)
def test_the_reading_of_the_corpus_is_said_once(
    write_run: WriteRun, data: dict[str, Any], said: str
) -> None:
    run = write_run(budget=0)
    config = Path(run) / "config.yaml"
    values = read_yaml(config.read_text("utf-8"))
    values["data"] |= data
    values["teacher"] = {"kind": "openai", "model": "m"}
    config.write_text(dump_config(Config.model_validate(values)), "utf-8")
    text = page_of(run).text
    assert text.count(said) == 1
    assert ("Macro is the mean over the domains that data.domains made" in text) == (
        "domains" in data
    )


def test_lists_of_answers_are_said_to_count(write_run: WriteRun) -> None:
    run = write_run(budget=0)
    said = "Some rows have several acceptable answers: any of them counts"
    assert said not in page_of(run).text
    marker = Path(run) / "_commits/corpus.json"
    values = json.loads(marker.read_text())
    values["figures"]["several_answers"] = True
    marker.write_text(json.dumps(values))
    assert said in page_of(run).text


def test_one_domain_and_one_stage(write_run: WriteRun) -> None:
    run = write_run({"only": 3}, stages=1, budget=10)
    page = page_of(run)
    assert set(figures_of(run)) == FIGURES
    assert "only" in page.text


def test_hundreds_of_domains_are_both_ends_in_the_figures_and_all_in_the_table(
    write_run: WriteRun,
) -> None:
    counts = {f"domain-{rank:03d}": 2000 // (rank + 1) + 1 for rank in range(300)}
    run = write_run(counts, stages=3, budget=600)
    page = page_of(run)
    assert all(page.text.count(name) for name in counts)
    assert "Of 300 domains, the 18 largest and 18 smallest are shown." in page.text
    quotas = _text(figures_of(run)["quotas"])
    assert "domain-000" in quotas
    assert "domain-299" in quotas
    assert "domain-150" not in quotas


def test_perfect_student(write_run: WriteRun) -> None:
    # the shares of these domains sum to 1 + 2e-16 as floats; `natural` must not
    counts = {f"domain-{rank:02d}": int(3000 / (rank + 1) ** 1.3) + 1 for rank in range(50)}
    run = write_run(counts, stages=5, budget=60)
    page_of(run)
    assert json.loads((Path(run) / "metrics.json").read_text())["natural"] == 1.0


def test_many_stages(write_run: WriteRun) -> None:
    run = write_run(stages=30, budget=300)
    page_of(run)
    assert set(figures_of(run)) == FIGURES


def test_strange_names_and_texts_are_shown_and_never_interpreted(write_run: WriteRun) -> None:
    counts = {name: 60 - 3 * i for i, name in enumerate(STRANGE)}
    run = write_run(
        counts, text="<script>alert(2)</script> {{ 7*7 }} \x00", quarantined={"<b>bad</b>": 1}
    )
    page = page_of(run)
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page.text)
    assert "[/INST] chat" in page.text
    assert "{{ question }}{% raw %}" in page.text
    assert "<script>alert(2)</script> {{ 7*7 }} \ufffd" in page.text
    assert "<b>bad</b>" in page.text
    sizes = _text(figures_of(run)["domain-sizes"])
    assert "$x^2$ \\frac" in sizes
    assert "日本語" in sizes
    assert "<script>" in sizes
    assert "x" * 15 + "…" + "x" * 8 in sizes
    assert "x" * 16 not in sizes


def test_report_is_the_same_every_time(write_run: WriteRun) -> None:
    run = write_run()
    first = Path(report(run)).read_bytes()
    assert Path(report(run)).read_bytes() == first


def test_run_at_a_uri(write_run: WriteRun) -> None:
    run = write_run(quarantined={"duplicate": 2})
    assert report(f"file://{run}") == f"file://{run}/report/index.html"
    assert (Path(run) / "report/index.html").exists()


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run folder.*config\.yaml"):
        report(tmp_path / "nothing")


def test_report_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, baldistill.report.page\n"
        "print([name for name in ('ray', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


def _text(root: ElementTree.Element) -> str:
    return "\n".join(root.itertext())
