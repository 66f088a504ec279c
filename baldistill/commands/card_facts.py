"""Facts about a run, for the cards of its data sets and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baldistill.data.hub import SCHEME
from baldistill.masking import masked_text
from baldistill.report.formats import markdown_table
from baldistill.run_folder.reader import RunFolder
from baldistill.uris import masked


def facts(folder: RunFolder, *more: tuple[str, str]) -> list[str]:
    """Return a table of what a run was made from, and the rows of `more`."""
    train = folder.setting("data.train", "bundled")
    files = [train] if isinstance(train, str) else list(train)
    total = folder.final.get("budget", {}).get("total", {})
    spent = f"; {total['calls']:,} calls of the teacher" if "calls" in total else ""
    policy = folder.setting("budget.policy.kind", "adaptive")
    verifier = folder.setting("tail.verifier", None)
    judge = folder.setting("judge", None)
    rows = [
        ("corpus", ", ".join(_corpus_name(str(name)) for name in files)),
        ("teacher", ", ".join(_teachers(folder.setting("teacher", {})))),
        *([("verifier", _teachers(verifier)[0])] if verifier else []),
        *([("judge", _teachers(judge["teacher"])[0])] if judge else []),
        ("student", model_name(folder.setting("student.model", "bundled"))),
        ("budget", f"{folder.budget:,} annotated examples in {folder.num_stages} stages{spent}"),
        ("policy, selection", f"{policy}, {_selection(folder)}"),
        ("seed", str(folder.setting("seed", 0))),
        *more,
    ]
    return markdown_table(["", "made from"], rows, numbers=slice(0, 0))


def _selection(folder: RunFolder) -> str:
    metric, diversity = (folder.setting(f"selection.{key}", "") for key in ("metric", "diversity"))
    metric = metric.get("kind") if isinstance(metric, dict) else metric
    return (metric or "ifd") + (f", {diversity}" if diversity not in ("", "none") else "")


def _teachers(teacher: Mapping[str, Any]) -> list[str]:
    """Name the teacher, or those of a cascade, without what stands in their addresses."""
    tiers = teacher.get("tiers") or [teacher]
    named = ((tier.get("model", "bundled"), tier.get("kind", "transformers")) for tier in tiers)
    return [f"{model_name(model)} ({kind})" for model, kind in named]


def model_name(name: Any) -> str:
    """Return a hub id, or the last name of a path: a card may be public, and a disk is not."""
    is_path = str(name).startswith(("/", "~", ".")) or "://" in str(name)
    return _last_name(str(name)) if is_path else str(name)


def _corpus_name(source: str) -> str:
    """Return all of a source on the hub, which anyone can look up, or the last name of a path."""
    return masked_text(source) if source.startswith(SCHEME) else _last_name(source)


def _last_name(path: str) -> str:
    return masked(path).rstrip("/").rpartition("/")[2]
