"""A Hugging Face hub on loopback from which data sets are read: what its filesystem asks for."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_" + "ReadsPrivateDataSets0123456789"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONVERTED = "refs/convert/parquet"


class HubFiles(ThreadingHTTPServer):
    """Serves data sets.

    Attributes:
        files: Name of a data set -> path -> content; in a branch, the path begins with `@BRANCH/`.
        private: Data sets that only TOKEN may read; others are told that there is none.
        gated: Data sets to which nobody has access yet.
        ranges: Paths and ranges of bytes that were read.
    """

    def __init__(self, files: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {name: dict(some) for name, some in files.items()}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.ranges: list[tuple[str, str]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_of(files: Mapping[str, Mapping[str, bytes]]) -> Iterator[HubFiles]:
    """Run a hub for the block."""
    server = HubFiles(files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubFiles
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        api = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/(.*))?", path)
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/(.*)", path)
        found = api or file
        if found is None:
            self._answer(404, {"error": f"no such call: {path}"})
        elif self._refused(found[1]):
            return
        elif file is not None:
            self._file(file[1], file[2])
        elif api is not None and api[2] == "tree":
            self._tree(api[1], api[3])
        elif api is not None:
            branch = api[3] or "main"
            if branch not in ("main", COMMIT, CONVERTED) or (
                branch == CONVERTED and not self._of(api[1], branch)[0]
            ):
                self._error(404, "RevisionNotFound")
            else:
                self._answer(200, {"id": api[1], "sha": COMMIT, "private": False, "tags": []})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _refused(self, name: str) -> bool:
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name in self.server.gated:
            self._error(403, "GatedRepo")
        elif name not in self.server.files or (name in self.server.private and not known):
            self._error(401, "RepoNotFound")
        else:
            return False
        return True

    def _of(self, name: str, rest: str) -> tuple[dict[str, bytes], str]:
        """Return the files of a revision, and the path within it."""
        files = self.server.files[name]
        if rest.startswith(CONVERTED):
            prefix = f"@{CONVERTED}/"
            some = {p.removeprefix(prefix): c for p, c in files.items() if p.startswith(prefix)}
            return some, rest.removeprefix(CONVERTED).strip("/")
        some = {path: content for path, content in files.items() if not path.startswith("@")}
        return some, rest.partition("/")[2]

    def _tree(self, name: str, rest: str) -> None:
        files, folder = self._of(name, rest)
        inside = f"{folder}/" if folder else ""
        deep = "recursive=true" in self.path.lower()
        entries: dict[str, dict[str, Any]] = {}
        for path, content in files.items():
            if not path.startswith(inside):
                continue
            parts = path.removeprefix(inside).split("/")
            for depth in range(1, len(parts) if deep else min(2, len(parts))):
                below = inside + "/".join(parts[:depth])
                entries[below] = {"type": "directory", "path": below, "size": 0, "oid": COMMIT}
            if deep or len(parts) == 1:
                file = {"type": "file", "path": path, "size": len(content), "oid": COMMIT}
                entries[path] = file
        if entries:
            self._answer(200, list(entries.values()))
        else:
            self._error(404, "EntryNotFound")

    def _file(self, name: str, rest: str) -> None:
        files, path = self._of(name, rest)
        if path not in files:
            self._error(404, "EntryNotFound")
            return
        content, wanted = files[path], self.headers.get("Range", "")
        self.server.ranges.append((path, wanted))
        status, start, total = 200, 0, len(content)
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", wanted):
            start, status = int(found[1]), 206
            content = content[start : int(found[2]) + 1]
        span = {"Content-Range": f"bytes {start}-{start + len(content) - 1}/{total}"}
        self._send(status, content, "application/octet-stream", span if status == 206 else {})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", "application/json", {"X-Error-Code": code})

    def _answer(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", {})

    def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
