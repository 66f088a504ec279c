"""Files, folders, globs and URIs to a list of files."""

import os
import re
import sys
from pathlib import Path

import pytest

from baldistill.data.sources import find_files, glob_pattern
from baldistill.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.csv", "sub/c.parquet", "sub/deep/d.ndjson.gz", "e.tsv", "[1].json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for name in ("notes.txt", ".hidden.jsonl", "_SUCCESS", "_tmp/x.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def names(sources: list[str], folder: Path) -> list[str]:
    files = find_files(sources, "train", "auto")
    assert [file.index for file in files] == list(range(len(files)))
    return [os.path.relpath(file.path, folder) for file in files]


def test_a_folder_is_read_in_order_and_hidden_files_are_not(folder: Path) -> None:
    expected = ["[1].json", "a.csv", "b.jsonl", "e.tsv", "sub/c.parquet", "sub/deep/d.ndjson.gz"]
    assert names([str(folder)], folder) == expected
    assert names([f"file://{folder}"], folder) == expected


def test_globs_files_and_lists(folder: Path) -> None:
    assert names([f"{folder}/*.jsonl"], folder) == ["b.jsonl"]
    assert names([f"{folder}/**/*.parquet"], folder) == ["sub/c.parquet"]
    assert names([f"{folder}/[1].json"], folder) == ["[1].json"]  # a file of that very name
    assert names([f"file://{folder}/sub/*/*.gz"], folder) == ["sub/deep/d.ndjson.gz"]
    twice = [f"{folder}/e.tsv", f"{folder}/*.[ct]sv"]
    assert names(twice, folder) == ["e.tsv", "a.csv"]


def test_formats(folder: Path) -> None:
    files = find_files([str(folder)], "evaluation", "auto", first_index=5)
    assert [(file.format, file.delimiter) for file in files] == [
        ("jsonl", ","),
        ("csv", ","),
        ("jsonl", ","),
        ("csv", "\t"),
        ("parquet", ","),
        ("jsonl", ","),
    ]
    assert files[0].index == 5
    assert find_files([f"{folder}/notes.txt"], "train", "csv")[0].format == "csv"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/x.jsonl", r"data.train: .*nowhere/x.jsonl does not exist; the folder .* has: "),
        ("*.arrow", r"matches no file"),
        ("only", "has no files with a known ending"),
        ("notes.txt", r"cannot tell the format of .*notes.txt.*set data.format"),
    ],
)
def test_errors(folder: Path, source: str, message: str) -> None:
    (folder / "only").mkdir()
    (folder / "only" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=message):
        find_files([f"{folder}/{source}"], "train", "auto")


@pytest.mark.skipif(sys.platform != "linux", reason="such names are possible on Linux alone")
def test_a_file_name_that_is_no_text(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.jsonl")).write_text("x")
    with pytest.raises(DataError, match=r"file name .*caf.*is no UTF-8: rename it"):
        find_files([str(folder)], "train", "auto")


def test_an_unknown_scheme() -> None:
    with pytest.raises(DataError, match="cannot open nonsense://x/y"):
        find_files(["nonsense://x/y"], "train", "auto")


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("/a/*.csv", "/a/b.csv", "/a/b/c.csv"),
        ("/a/**/c.csv", "/a/c.csv", "/ac.csv"),
        ("/a/**", "/a/b/c", "/b"),
        ("/a/[!x]?.csv", "/a/yz.csv", "/a/xz.csv"),
        ("/a.b/*", "/a.b/c", "/aXb/c"),
    ],
)
def test_glob_pattern(glob: str, yes: str, no: str) -> None:
    assert re.fullmatch(glob_pattern(glob), yes)
    assert not re.fullmatch(glob_pattern(glob), no)
