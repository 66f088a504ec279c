"""One behaviour on a local disk and on any other filesystem."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from baldistill.config.loading import load_config
from baldistill.errors import UserError
from baldistill.storage import Storage, open_uri


@pytest.fixture(params=["local", "remote"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Storage:
    """A folder on the disk, and one on a filesystem that is not taken for the disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "local":
        return Storage.open(tmp_path / "run")
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    return Storage(f"test://{tmp_path.name}/run", fs, "run")


def everything_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_read(storage: Storage, tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "\u00e9"]})
    storage.write_bytes("one/two/bytes", b"\x00\xff")
    storage.write_text("text", "caf\u00e9\r\n")
    storage.write_json("value.json", {"b": [1, None], "a": "\u00e9"})
    storage.write_table("tables/1.parquet", table)
    storage.write_table("tables/2.parquet", table)
    assert storage.read_bytes("one/two/bytes") == b"\x00\xff"
    assert storage.read_text("text") == "caf\u00e9\r\n"
    assert storage.read_json("value.json") == {"b": [1, None], "a": "\u00e9"}
    assert storage.read_table("tables/1.parquet").equals(table)
    assert storage.read_table("tables").num_rows == 4
    assert storage.read_table("tables", columns=["b"]).column_names == ["b"]
    storage.write_text("tables/README.md", "no table")
    assert storage.read_table("tables").num_rows == 4
    assert storage.tables("tables") == ["1.parquet", "2.parquet"]
    assert storage.files("one") == ["one/two/bytes"]
    assert storage.files("tables/1.parquet") == ["tables/1.parquet"]
    assert storage.files("never there") == []
    storage.delete("tables/README.md")
    assert storage.list() == ["text", "value.json"]
    assert storage.sub("tables").list() == ["1.parquet", "2.parquet"]
    assert not any(name.endswith(".tmp") for name in everything_under(tmp_path))


def test_files_are_replaced_and_deleted(storage: Storage) -> None:
    storage.write_text("a", "1")
    storage.write_text("a", "2")
    storage.write_text("folder/deep/b", "3")
    assert storage.read_text("a") == "2"
    for name in ("a", "folder", "never there"):
        storage.delete(name)
        assert not storage.exists(name)
    assert storage.list("folder") == []


def test_it_travels_to_other_processes(storage: Storage) -> None:
    storage.write_text("a", "1")
    assert pickle.loads(pickle.dumps(storage)).read_text("a") == "1"


def test_a_folder_replaces_what_stood_under_its_name(storage: Storage, tmp_path: Path) -> None:
    for number, names in enumerate((["a", "sub/b"], ["a", "c"])):
        source = tmp_path / f"source{number}"
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(f"{name}{number}")
        storage.upload_dir(source, "stages/01/student")
        copy = storage.local_dir("stages/01/student")
        assert everything_under(copy) == set(names)
        assert (copy / "a").read_text() == f"a{number}"  # never the copy of what stood there
    assert storage.list("stages/01") == []


def test_processes_of_a_machine_may_fetch_the_same_folder_at_once(
    storage: Storage, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_bytes(b"0" * 10_000)
    storage.upload_dir(source, "student")
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(storage.local_dir("student")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert {(path / "weights").stat().st_size for path in found} == {10_000}


def test_a_folder_that_is_not_there_cannot_be_fetched(tmp_path: Path) -> None:
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    with pytest.raises(UserError, match="nothing at test://x/student"):
        Storage("test://x", fs, "x").local_dir("student")


def test_what_a_crash_left_half_written_is_no_artifact(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    table = pa.table({"a": [1]})
    storage.write_table("tables/1.parquet", table)
    half = tmp_path / "tables" / ".2.parquet.0123.tmp"  # what `write_bytes` writes to first
    half.write_bytes(b"PAR1 and no more")
    assert storage.list("tables") == ["1.parquet"]
    assert storage.read_table("tables").equals(table)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    storage.write_text("a", "1")
    with pytest.raises(TypeError):
        storage.write_bytes("a", "not bytes")  # type: ignore[arg-type]
    assert storage.read_text("a") == "1"
    assert everything_under(tmp_path) == {"a"}


@pytest.mark.parametrize("uri", ["foo://bucket/run", "hdfs://nowhere:1/run"])
def test_a_uri_that_cannot_be_opened_is_the_users_problem(uri: str) -> None:
    with pytest.raises(UserError, match=f"cannot open {uri}"):
        Storage.open(uri)


def test_a_store_that_no_other_process_sees_is_refused() -> None:
    with pytest.raises(UserError, match="lives in one process"):
        Storage.open("memory://run")


def test_fsspec_opens_what_pyarrow_does_not_know(tmp_path: Path) -> None:
    storage = Storage.open(f"fsspec+file://{tmp_path}/run")
    storage.sub("stages/01").write_text("a", "1")
    assert not storage.is_local, "it goes the way of a remote store"
    assert (tmp_path / "run" / "stages" / "01" / "a").read_text() == "1"
    assert pickle.loads(pickle.dumps(storage)).read_text("stages/01/a") == "1"
    with pytest.raises(UserError, match=r"cannot open dropbox://x: .*nstall"):
        Storage.open("dropbox://x")  # fsspec knows it, and names the package


def test_the_query_of_a_uri_belongs_to_the_filesystem() -> None:
    uri = "s3://bucket/runs/a/?endpoint_override=127.0.0.1:5000&scheme=http&region=us-east-1"
    fs, root = open_uri(uri)
    sub = Storage(uri, fs, root.rstrip("/")).sub("stages").sub("01")
    assert sub.root == "bucket/runs/a/stages/01"
    assert sub.uri.startswith("s3://bucket/runs/a/stages/01?endpoint_override=127.0.0.1:5000&")
    assert open_uri(sub.uri) == (fs, sub.root)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAKEY:hunter2@bucket/run",
        "s3://AKIAKEY:hunter2@bucket/run?region=us-east-1",
        "s3://bucket/run?secret_key=hunter2",
        "abfs://c@a.dfs.core.windows.net/run?sas_token=hunter2",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    for refuse in (lambda: Storage.open(uri), lambda: load_config(None, [f"data.train={uri}"])):
        with pytest.raises(UserError, match="credentials in it") as caught:
            refuse()
        assert "hunter2" not in str(caught.value)
        assert "AKIAKEY" not in str(caught.value)


def test_paths_and_file_uris_are_the_same_folder(tmp_path: Path) -> None:
    Storage.open(tmp_path).write_text("a b", "1")
    assert Storage.open(f"file://{tmp_path}").read_text("a b") == "1"
    assert Storage.open(f"file://{tmp_path}").is_local


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("no folder")
    storage = Storage.open(tmp_path)
    for write in (storage.write_bytes, storage.create):
        # a FileExistsError would say that the name is taken by another writer
        with pytest.raises(NotADirectoryError, match="ledger"):
            write("ledger/1", b"x")
