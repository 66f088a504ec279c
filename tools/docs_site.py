"""Hooks of mkdocs.yml: pages that are made from the README and the code, and links out of docs/.

`./dev docs` builds the site. Pages stay readable in the repository: what only the site needs is
done here.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import baldistill
from baldistill.commands.schema import SectionKeys, config_sections

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_AT_THE_ROOT = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that no file in docs/ holds."""
    made = {page: _of_root(name) for name, page in _AT_THE_ROOT.items()}
    made |= {"config.md": config_page(), "python.md": python_page()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Lead links out of docs/ to the repository; without an address of it, keep their text."""
    return without_ways_out(markdown, page.file.src_uri, config.get("repo_url"))


def without_ways_out(markdown: str, page: str, repository: str | None) -> str:
    """Return a page of docs/ with links that the site can follow."""

    def lead(match: re.Match[str]) -> str:
        text, link = match[1], match[2]
        if "://" in link or link.startswith("#"):
            return match[0]
        path, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), path))
        if target in _AT_THE_ROOT:
            return f"[{text}]({_AT_THE_ROOT[target]}{'#' * bool(anchor)}{anchor})"
        if target.startswith("docs/"):
            return match[0]
        return f"[{text}]({repository.rstrip('/')}/blob/main/{target})" if repository else text

    return _LINK.sub(lead, markdown)


def _of_root(name: str) -> str:
    """Return a page of the repository's root, its links as of a page in docs/."""

    def move(match: re.Match[str]) -> str:
        path = match[1]
        if "://" in path or path.startswith("#"):
            return match[0]
        return f"]({path.removeprefix('docs/') if path.startswith('docs/') else f'../{path}'})"

    return re.sub(r"\]\(([^)\s]+)\)", move, (ROOT / name).read_text("utf-8"))


def config_page() -> str:
    """Return the reference of every key, from the models that validate configs."""
    lines = [
        "# Every key of a config",
        "",
        "Made from the models that validate configs. On the command line, a key stands with dots: "
        "`budget.total=2000`. `baldistill schema > schema.json` writes the same as a JSON Schema; "
        "editors that know YAML's language server complete and check a file that begins with "
        "`# yaml-language-server: $schema=schema.json`.",
        "",
    ]
    for section in config_sections():
        lines += _section(section)
    return "\n".join(lines)


def _section(section: SectionKeys) -> list[str]:
    lines = [f"## {section.name}", "", _one_line(section.text), ""]
    if not section.keys:
        return lines
    lines += ["| key | value | default | |", "|---|---|---|---|"]
    for key in section.keys:
        kind = re.sub(r"`(\w+)`", lambda m: f"[{m[1]}](#{m[1].lower()})", key.kind)
        default = "must be given" if key.required else _default(key.default)
        lines.append(f"| `{key.name}` | {_cell(kind)} | {default} | {_cell(key.text)} |")
    return [*lines, ""]


def _default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "its own defaults"
    return f"`{_cell(json.dumps(value, ensure_ascii=False))}`"


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def python_page() -> str:
    """Return the reference of the public Python API, which mkdocstrings fills in."""
    lines = ["# From Python", "", "All of it is imported from `baldistill` itself.", ""]
    for name, home in sorted(baldistill._HOME.items()):
        module, _, attribute = home.partition(":")
        lines += [f"::: {module}.{attribute or name}", ""]
    return "\n".join(lines)
