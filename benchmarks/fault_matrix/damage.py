"""Ways in which a file of a run folder is damaged; each returns the file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq


def ledger_segment_gone(run_dir: Path, rng: random.Random) -> Path:
    """Remove a segment of the ledger that is not the last one."""
    path = rng.choice(sorted(run_dir.glob("ledger/*.jsonl"))[:-1])
    path.unlink()
    return path


def ledger_end_gone(run_dir: Path, rng: random.Random) -> Path:
    """Remove the end of the ledger, from the last segment on that a marker vouches for."""
    path = run_dir / "_commits" / "stages" / "01" / "annotated.json"
    first: int = json.loads(path.read_text("utf-8"))["ledger_segments"] - 1
    segments = sorted(run_dir.glob("ledger/*.jsonl"))
    for path in segments[first:]:
        path.unlink()
    return segments[first]


def ledger_line_changed(run_dir: Path, rng: random.Random) -> Path:
    """Let a reservation in the ledger name another number of tokens."""
    path = next(p for p in sorted(run_dir.glob("ledger/*")) if b'"max_tokens": 6' in p.read_bytes())
    path.write_bytes(path.read_bytes().replace(b'"max_tokens": 6', b'"max_tokens": 1', 1))
    return path


def ledger_cut(run_dir: Path, rng: random.Random) -> Path:
    """Cut a segment of the ledger in half."""
    return _cut(rng.choice(sorted(run_dir.glob("ledger/*.jsonl"))))


def corpus_cut(run_dir: Path, rng: random.Random) -> Path:
    """Cut a file of the corpus in half."""
    return _cut(next(run_dir.glob("corpus/train/*.parquet")))


def corpus_gone(run_dir: Path, rng: random.Random) -> Path:
    """Remove the files of the corpus."""
    paths = sorted(run_dir.glob("corpus/train/*.parquet"))
    for path in paths:
        path.unlink()
    return paths[0].parent


def row_gone(run_dir: Path, rng: random.Random) -> Path:
    """Take one row out of a committed table."""
    path = run_dir / "stages" / "01" / "annotated.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    return path


def marker_emptied(run_dir: Path, rng: random.Random) -> Path:
    """Leave nothing of a marker but its name."""
    path = run_dir / "_commits" / "stages" / "01" / "annotated.json"
    path.write_bytes(b"")
    return path


def _cut(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


DAMAGES = (
    ledger_segment_gone, ledger_end_gone, ledger_line_changed, ledger_cut, corpus_cut, corpus_gone,
    row_gone, marker_emptied,
)  # fmt: skip
