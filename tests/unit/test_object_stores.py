"""Writes that succeed only if the name is free: on a disk, on S3, and where there are none."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from baldistill import object_stores
from baldistill.storage import Storage


class ObjectServer(ThreadingHTTPServer):
    """As much of S3 as a PUT and a GET need, with faults.

    Attributes:
        objects: By path, such as `/runs/a/name`.
        conditional: Whether it knows `If-None-Match`: "yes", "ignored", or "refused".
        faults: Taken from the end, one a PUT: "lost" stores the object and closes the connection,
            "dropped" only closes it, "conflict" answers 409 and stores nothing.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _S3)
        self.objects: dict[str, bytes] = {}
        self.conditional = "yes"
        self.faults: list[str] = []
        self.lock = threading.Lock()


class _S3(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            fault = self.server.faults.pop() if self.server.faults else None
            self._put(data, fault)

    def _put(self, data: bytes, fault: str | None) -> None:
        path, objects = self.path.partition("?")[0], self.server.objects
        asked = self.headers.get("If-None-Match") == "*"
        if asked and self.server.conditional == "refused":
            return self._answer(501)
        if fault == "conflict":
            return self._answer(409)
        if fault == "dropped":
            return self._close()
        if asked and self.server.conditional == "yes" and path in objects:
            return self._answer(412)
        objects[path] = data
        return self._close() if fault == "lost" else self._answer(200)

    def do_GET(self) -> None:
        self._read(self.server.objects.get(self.path.partition("?")[0]))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.path.partition("?")[0], None)
        self._answer(204)

    def _read(self, data: bytes | None) -> None:
        self._answer(404 if data is None else 200, data or b"")

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _close(self) -> None:
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """A server that lives as long as the test; credentials are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with ObjectServer() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def bucket(server: ObjectServer) -> Storage:
    endpoint = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=eu-west-3"
    fs, root = pafs.FileSystem.from_uri(f"s3://runs/a?{endpoint}")
    return Storage(f"s3://runs/a?{endpoint}", fs, root)


@pytest.fixture(params=["disk", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "disk":
        return Storage.open(tmp_path / "run")
    return request.getfixturevalue("bucket")


def test_one_of_many_writers_creates_a_file(storage: Storage) -> None:
    def write(number: int) -> bool:
        try:
            storage.create("folder/name \u00fc#?%+.jsonl", b"writer %d" % number)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as writers:
        won = list(writers.map(write, range(8)))
    assert sum(won) == 1
    name = "folder/name \u00fc#?%+.jsonl"
    assert storage.read_bytes(name) == b"writer %d" % won.index(True)
    if storage.is_local:
        assert os.listdir(storage.path("folder")) == [name.partition("/")[2]], "nothing temporary"


def test_the_same_content_counts_as_written_by_this_call(storage: Storage) -> None:
    storage.create("name", b"mine")
    storage.create("name", b"mine")
    with pytest.raises(FileExistsError):
        storage.create("name", b"another's")
    assert storage.read_bytes("name") == b"mine"


@pytest.mark.parametrize("faults", [["lost"], ["dropped", "lost"], ["conflict", "conflict"]])
def test_a_lost_answer_and_a_conflict_are_no_other_owner(
    bucket: Storage, server: ObjectServer, faults: list[str]
) -> None:
    """A retry finds the object that the first attempt wrote; S3 answers 409 for "try again"."""
    server.faults = list(faults)
    bucket.create("name", b"mine")
    assert server.objects == {"/runs/a/name": b"mine"}
    server.faults = list(faults)
    with pytest.raises(FileExistsError):
        bucket.create("name", b"another's")
    assert server.objects == {"/runs/a/name": b"mine"}


def test_a_store_without_conditional_writes_is_found_out(
    bucket: Storage, server: ObjectServer, tmp_path: Path
) -> None:
    assert bucket.creates_once()
    for conditional in ("ignored", "refused"):
        server.conditional = conditional
        assert not bucket.creates_once()
    left = {path for path in server.objects if not path.endswith("/")}  # pyarrow keeps the folder
    assert left == set(), "nothing is left of the attempts"
    elsewhere = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    assert not Storage("test://x", elsewhere, "run").creates_once()
    assert Storage.open(tmp_path / "run").creates_once()
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_disk_without_hard_links_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert not Storage.open(tmp_path).creates_once()
    with pytest.raises(io.UnsupportedOperation):
        Storage.open(tmp_path).create("name", b"")


def test_credentials_come_from_a_profile_too(
    bucket: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pyarrow finds credentials, conditional writes find them."""
    file = tmp_path / "credentials"
    file.write_text("[other]\naws_access_key_id = theirs\naws_secret_access_key = hush\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "other")
    current = object_stores._aws_credentials()
    assert current()["access_key_id"] == "theirs"
    bucket.create("name", b"mine")


Open = Callable[[str], tuple[pafs.FileSystem, str]]


def test_a_store_is_opened_as_pyarrow_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    opened: Open = pafs.FileSystem.from_uri
    s3 = object_stores._open(opened("s3://b/x?region=eu-west-3")[0], "b")
    assert s3.config["region"] == "eu-west-3"
    assert s3.config["virtual_hosted_style_request"] == "true"
    assert "endpoint" not in s3.config
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3 = object_stores._open(opened("s3://b/x?region=eu-west-3")[0], "b")
    assert s3.config["endpoint"] == "http://127.0.0.1:9"
    gcs = object_stores._open(
        opened("gs://anonymous@b/x?endpoint_override=h:9&scheme=http")[0], "b"
    )
    assert gcs.config["base_url"] == "http://h:9"
    azure = object_stores._open(opened("abfs://c@acc.dfs.core.windows.net/x")[0], "c")
    assert azure.config["account_name"] == "acc"
    assert azure.config["endpoint"] == "https://acc.blob.core.windows.net"
