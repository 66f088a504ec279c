"""Files that are not what they seem, and columns that are not there."""

import bz2
import gzip
import json
import lzma
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baldistill.data.compression import open_stream
from baldistill.data.file_format import inspect_files
from baldistill.data.sources import SourceFile, find_files
from baldistill.errors import DataError

COLUMNS = {"question": "question", "answer": "answer", "domain": "domain"}
ROW = {"question": "q", "answer": "a", "domain": "d"}
LINE = json.dumps(ROW).encode() + b"\n"


def inspect(path: Path, data: bytes) -> list[SourceFile]:
    path.write_bytes(data)
    return inspect_files(find_files([str(path)], "train", "auto"), COLUMNS)


def parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"PAR1" + bytes(50), "is a Parquet file; set data.format=parquet"),
        ("a.parquet", LINE, r"is not a Parquet file \(it begins with b'\{\"question"),
        ("a.parquet", b"<!DOCTYPE html><html>", "HTML or XML page.*download link"),
        ("a.jsonl", b"\n <html><body>404", "HTML or XML page"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.jsonl", b"PK\x03\x04" + bytes(20), "unpack it first"),
        ("a.csv", "question,answer,domain".encode("utf-16"), "UTF-16"),
        ("a.jsonl", bytes(range(128, 256)) * 9, "binary data, not jsonl text"),
        ("a.jsonl", bytes(500), "binary data"),
        ("a.csv", LINE * 2, r"is JSON lines, not CSV: set data\.format=jsonl"),
        ("a.csv.gz", gzip.compress(LINE, mtime=0), "is JSON lines, not CSV"),
        ("a.json", json.dumps(ROW, indent=2).encode(), r"one JSON document.*jq -c"),
        (
            "a.json.gz",
            gzip.compress(json.dumps(ROW, indent=2).encode(), mtime=0),
            "one JSON document",
        ),
        ("a.json", b'[{"Question": 1}]', "did you mean `Question`"),
        ("a.jsonl", b"7z\xbc\xaf\x27\x1c" + bytes(20), "unpack it first"),
        ("a.jsonl.xz", lzma.compress(LINE * 9)[:40], "cannot be read"),
        ("a.parquet", b"PAR1" + bytes(50), "cannot be read"),
        ("a.jsonl.gz", gzip.compress(LINE * 9, mtime=0)[:20], "cannot be read"),
    ],
)
def test_another_kind_of_file(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        inspect(tmp_path / name, data)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize(
    "data",
    [LINE, b"\xef\xbb\xbf" + LINE, b"[1, 2]\n" + LINE * 2, b"{\n" + LINE * 2, b"\0" * 9 + LINE],
)
def test_damaged_first_lines_are_no_other_format(tmp_path: Path, data: bytes) -> None:
    assert len(inspect(tmp_path / "a.jsonl", data)) == 1


def test_empty_files(tmp_path: Path) -> None:
    assert inspect(tmp_path / "a.jsonl", b"\n \n") == []
    assert inspect(tmp_path / "a.csv", b"") == []
    assert inspect(tmp_path / "c.jsonl", b"\n" * 70_000 + LINE)[0].compression is None


@pytest.mark.parametrize(
    ("ending", "packed"),
    [
        (".gz", gzip.compress(LINE, mtime=0)),
        (".bz2", bz2.compress(LINE)),
        (".xz", lzma.compress(LINE)),
        (".zst", pa.compress(LINE, "zstd", asbytes=True)),
        ("", bz2.compress(LINE)),  # the bytes decide
    ],
)
def test_compressed_files(tmp_path: Path, ending: str, packed: bytes) -> None:
    (file,) = inspect(tmp_path / f"b.jsonl{ending}", packed)
    with open_stream(file.fs, file.path, file.compression) as stream:
        assert stream.read() == LINE


@pytest.mark.parametrize(
    "data",
    [
        json.dumps([ROW, ROW]).encode(),
        json.dumps([ROW] * 9999).encode(),
        b"\xef\xbb\xbf" + json.dumps([ROW, ROW], indent=2).encode(),
        gzip.compress(json.dumps([ROW], indent=2).encode(), mtime=0),
    ],
)
def test_arrays(tmp_path: Path, data: bytes) -> None:
    assert inspect(tmp_path / "a.json", data)[0].is_array


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b'{"Question": "q", "answer": "a", "domain": "d"}\n'),
        ("a.csv", b"Question,answer,domain\n"),
        ("a.tsv", b"Question\tanswer\tdomain\n"),
    ],
)
def test_a_missing_column_names_the_nearest_and_the_key(
    tmp_path: Path, name: str, data: bytes
) -> None:
    with pytest.raises(DataError) as caught:
        inspect(tmp_path / name, data)
    assert str(caught.value) == (
        f"{tmp_path / name}: no column `question` for the question; did you mean `Question`? "
        "The columns are: Question, answer, domain. Set data.columns.question=Question"
    )


def test_a_missing_column_of_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column `domain` for the domain\. The columns are: "):
        inspect(
            tmp_path / "a.parquet", parquet_bytes(pa.table({"question": ["q"], "answer": ["a"]}))
        )


@pytest.mark.parametrize(
    ("data", "without"),
    [
        (b'{"question": "q", "domain": "d"}\n', "data.columns.answer=null where there are none"),
        (b'{"question": "q", "answer": "a"}\n', "data.domains={clusters: auto}, which makes them"),
    ],
)
def test_what_a_corpus_may_lack_is_said(tmp_path: Path, data: bytes, without: str) -> None:
    with pytest.raises(DataError, match=re.escape(without)):
        inspect(tmp_path / "a.jsonl", data)


def test_another_delimiter(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="separated by another character than a comma"):
        inspect(tmp_path / "a.csv", b"question;answer;domain\nq;a;d\n")
