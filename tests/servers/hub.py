"""A Hugging Face hub on loopback that takes uploads: the few calls that the hub's client makes."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """Keeps what is uploaded.

    Attributes:
        token: Who may write; others get 401, and a reader's token 403.
        private: Repository -> whether it was made private.
        files: Path with the repository's name in front -> content.
    """

    token = "hf_writer"
    reader = "hf_reader"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.private: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub() -> Iterator[Hub]:
    """Run a hub for the block."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(404, {"error": "there is nothing to read here"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = {
            f"Bearer {self.server.token}": 200,
            f"Bearer {self.server.reader}": 403,
        }.get(self.headers.get("Authorization", ""), 401)
        if status != 200:
            self._answer(status, {"error": "refused"})
        elif self.path == "/api/repos/create":
            made = json.loads(body)
            name = f"{made['organization']}/{made['name']}"
            self.server.private.setdefault(
                name, made.get("visibility") == "private" or bool(made.get("private"))
            )
            kind = "datasets/" if made.get("type") == "dataset" else ""
            self._answer(200, {"url": f"{self.server.endpoint}/{kind}{name}", "id": name})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif "/commit/" in self.path:
            repository = "/".join(self.path.partition("/commit/")[0].split("/")[-2:])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.files[f"{repository}/{line['value']['path']}"] = content
            url = f"{self.server.endpoint}/datasets/{repository}/commit/0"
            self._answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": url})
        else:
            self._answer(404, {"error": f"no such call: {self.path}"})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
