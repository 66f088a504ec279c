"""Data sets of the hub: their files are found by path or by name, and read in parts."""

from __future__ import annotations

import io
import json
import pickle
import socket
from collections.abc import Iterator

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers.hub_files import TOKEN, HubFiles, hub_of

from baldistill.config import DataConfig
from baldistill.data.file_format import inspect_files
from baldistill.data.read_unit import readable_blocks
from baldistill.data.rows import mapped_columns
from baldistill.data.sources import SourceFile, find_files
from baldistill.data.units import number_rows, plan_segments
from baldistill.errors import DataError

COLUMNS = mapped_columns(DataConfig(), "train")


def lines(name: str, count: int = 3) -> bytes:
    rows = [{"question": f"{name} {i}?", "answer": "a", "domain": "d"} for i in range(count)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(name: str) -> bytes:
    sink = io.BytesIO()
    rows = [json.loads(line) for line in lines(name).splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


CARD = b"""---
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: ["main/part-*", "more.jsonl"]
  - split: test
    path: main/held-out.parquet
- config_name: small
  data_files: small/*.jsonl
---
# A data set
"""
SETS = {
    "me/carded": {
        "README.md": CARD,
        "main/part-0.jsonl": lines("part0"),
        "main/part-1.parquet": parquet("part1"),
        "main/held-out.parquet": parquet("held"),
        "more.jsonl": lines("more"),
        "small/a.jsonl": lines("small"),
    },
    "me/plain": {
        "README.md": b"# No list of files",
        "data/train-00000.jsonl": lines("train0"),
        "data/train-00001.jsonl": lines("train1"),
        "data/test-00000.jsonl": lines("test0"),
        "notes.txt": b"nothing",
    },
    "me/script": {
        "script.py": b"print()",
        "@refs/convert/parquet/one/train/0000.parquet": parquet("converted"),
        "@refs/convert/parquet/one/test/0000.parquet": parquet("tested"),
        "@refs/convert/parquet/two/partial-train/0000.parquet": parquet("part"),
    },
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubFiles]:
    with hub_of(SETS) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield server


def read(files: list[SourceFile], unit_bytes: int = 1 << 20) -> list[str]:
    """The questions of all files, read in segments as workers read them."""
    found = inspect_files(files, COLUMNS)
    by_index = {file.index: pickle.loads(pickle.dumps(file)) for file in found}
    segments = plan_segments(found, unit_bytes)
    questions: list[str] = []
    for segment in number_rows(segments, {}):
        for block in readable_blocks(by_index[segment.file], segment, COLUMNS):
            assert not block.bad
            questions += block.columns["question"].to_pylist()
    return questions


def asked(*names: str) -> set[str]:
    return {f"{name} {i}?" for name in names for i in range(3)}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("me/carded/more.jsonl", ["more"]),
        ("me/carded@main/more.jsonl", ["more"]),
        ("me/carded/small", ["small"]),
        ("me/carded/main/*.parquet", ["part1", "held"]),
        ("me/carded", ["part0", "part1", "more"]),
        ("me/carded?split=test", ["held"]),
        ("me/carded?config=small", ["small"]),
        ("me/plain", ["train0", "train1"]),
        ("me/plain?split=test", ["test0"]),
        ("me/script?config=one", ["converted"]),
        ("me/script?config=one&split=test", ["tested"]),
    ],
)
def test_what_a_source_names(hub: HubFiles, source: str, names: list[str]) -> None:
    files = find_files(f"hf://datasets/{source}", "train", "auto")
    questions = read(files)
    assert set(questions) == asked(*names)
    assert len(questions) == 3 * len(names)
    for file in files:
        assert file.shown.startswith(f"hf://datasets/{source[:7]}")
        assert "0123456789abcdef" not in file.shown


def test_a_big_file_is_read_in_parts(hub: HubFiles) -> None:
    hub.files["me/carded"]["more.jsonl"] = lines("more", 500)
    files = find_files("hf://datasets/me/carded/more.jsonl", "train", "auto")
    assert len(plan_segments(inspect_files(files, COLUMNS), 4096)) > 3
    assert read(files, 4096) == [f"more {i}?" for i in range(500)]
    assert all(wanted.startswith("bytes=") for _, wanted in hub.ranges)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("datasets/me/nowhere", "no data set .* that you may read: check OWNER/NAME"),
        ("datasets/me/secret/a.jsonl", "if it is private, set HF_TOKEN"),
        ("datasets/me/gated/a.jsonl", "ask for access on its page, then set HF_TOKEN"),
        ("datasets/me/carded@v9/more.jsonl", "no such revision"),
        ("datasets/me/carded/mor.jsonl", "does not exist; the folder .* has: .*more.jsonl"),
        ("datasets/me/carded/*.csv", "matches no file"),
        ("datasets/me/carded?config=smal", "no config smal; did you mean small"),
        ("datasets/me/carded?split=dev", "no split dev.*one of \\(test, train\\)"),
        ("datasets/me/script?config=three", "no config three.*\\(one, two\\)"),
        ("datasets/me/script?config=two", "only a part of partial-train"),
        ("datasets/me/script", "no files that can be read"),
        ("datasets/me/plain?config=x", "lists no configurations"),
        ("datasets/me/plain/data?split=test", "leave one of them out"),
        ("datasets/me/plain?splt=test", "is no data set of the hub"),
        ("me/plain", "write hf://datasets/OWNER/NAME"),
    ],
)
def test_mistakes_say_what_to_do(hub: HubFiles, source: str, words: str) -> None:
    hub.files |= {"me/secret": {"a.jsonl": lines("a")}, "me/gated": {"a.jsonl": lines("a")}}
    hub.private.add("me/secret")
    hub.gated.add("me/gated")
    with pytest.raises(DataError, match=f"data.train: .*{words}"):
        find_files(f"hf://{source}", "train", "auto")


def test_a_token_is_used_and_neither_shown_nor_sent_along(
    hub: HubFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["me/secret"] = {"a.jsonl": lines("a")}
    hub.private.add("me/secret")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    files = find_files("hf://datasets/me/secret/a.jsonl", "train", "auto")
    assert read(files) == ["a 0?", "a 1?", "a 2?"]
    assert TOKEN.encode() not in pickle.dumps(files)
    hub.private.add("me/carded")
    monkeypatch.setenv("HF_TOKEN", TOKEN[:-1])
    with pytest.raises(DataError, match="that you may read") as refusal:
        find_files("hf://datasets/me/carded/more.jsonl", "train", "auto")
    assert TOKEN[:-1] not in str(refusal.value)


def test_a_hub_that_cannot_be_reached(hub: HubFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(DataError, match=r"cannot be reached .* check the network"):
            find_files("hf://datasets/me/plain", "train", "auto")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="unset HF_HUB_OFFLINE"):
        find_files("hf://datasets/me/plain", "train", "auto")
