"""The Batch API of a small OpenAI-compatible server on loopback, which misbehaves on request.

Rows may begin with a script as in `fault_server`, one step for each batch that they are in; the
step `expire` leaves a row without an answer. Calls about files and batches fail by `faults`, whole
batches end by `endings`. A batch is worked on when somebody looks, unless the server holds it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.fault_server import FaultServer, _error, hostile

Answer = tuple[int, dict[str, str], bytes] | str


@dataclass
class Batch:
    """A batch, and the rows that it was created with."""

    fields: dict[str, Any]
    rows: list[dict[str, Any]]
    ending: str
    looks: int
    freed: bool = False


@dataclass
class BatchServer(FaultServer):
    """What the server does, and what it saw.

    Attributes:
        held: Batches stay in progress until this is unset.
        looks: How often a batch must be looked at before it ends.
        page: Batches on a page of the list.
        faults: By kind of call (`upload`, `create`, `retrieve`, `list`, `content`, `any`), what the
            next ones get: a status, `drop`, `html`, `badjson`, `raw:NAME` (a hostile answer of
            `servers.hostile`), `json:TEXT`, or `lost` (it is done, and the answer does not arrive).
        endings: How the next batches end, `completed` where it is empty: `expired`, `cancelled`,
            `failed:CODE`.
        keeps_metadata: Whether batches have theirs.
        gives: Purposes of files that can be downloaded.
        submitted: How often each prompt was in a created batch.
        calls: Calls by kind, files read by `content:PURPOSE`.
    """

    held: bool = False
    looks: int = 1
    page: int = 2
    faults: dict[str, list[str]] = field(default_factory=dict)
    endings: list[str] = field(default_factory=list)
    keeps_metadata: bool = True
    gives: tuple[str, ...] = ("batch", "batch_output")
    submitted: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def finish(self, count: int) -> None:
        """Let the first batches end although all are held."""
        for batch in list(self.batches.values())[:count]:
            batch.freed = True

    async def answer(self, path: str, headers: dict[str, str], content: bytes) -> Answer:
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, f"Incorrect API key provided: {headers.get('authorization')}")
        parts = urlsplit(path)
        match parts.path.removeprefix("/v1/").split("/"):
            case ["files"]:
                kind = "upload"
            case ["files", _, "content"]:
                kind = "content"
            case ["batches"]:
                kind = "create" if content else "list"
            case ["batches", _]:
                kind = "retrieve"
            case _:
                return await super().answer(path, headers, content)
        self.calls[kind] += 1
        steps = self.faults.get(kind) or self.faults.get("any") or []
        step = steps.pop(0) if steps else "ok"
        match step:
            case "ok" | "lost":
                done = await getattr(self, f"_{kind}")(parts, headers, content)
                return "drop" if step == "lost" else done
            case "drop":
                return "drop"
            case "html":
                return 200, {"content-type": "text/html"}, b"<html>Welcome to the proxy</html>"
            case "badjson":
                return 200, {}, b'{"id": "half an an'
        if step.startswith("raw:"):
            return hostile(step[4:], {"choices": [{"index": 0, "text": "no batch"}], "usage": {}})
        if step.startswith("json:"):
            return 200, {}, step[5:].encode()
        return _error(int(step), "no luck")

    async def _upload(self, parts: Any, headers: dict[str, str], content: bytes) -> Answer:
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        sent = {}
        for part in content.split(b"--" + boundary)[1:-1]:
            head, _, body = part.partition(b"\r\n\r\n")
            name = re.search(rb'name="(\w+)"', head)
            assert name is not None
            sent[name[1].decode()] = body.removesuffix(b"\r\n")
        assert sent["purpose"] == b"batch"
        return _json({"id": self._store("batch", sent["file"]), "object": "file"})

    async def _content(self, parts: Any, headers: dict[str, str], content: bytes) -> Answer:
        purpose, text = self.files.get(parts.path.split("/")[3], ("", b""))
        self.calls[f"content:{purpose}"] += 1
        if purpose not in self.gives:
            return _error(404, "No such File object")
        return 200, {"content-type": "application/octet-stream"}, text

    async def _create(self, parts: Any, headers: dict[str, str], content: bytes) -> Answer:
        asked = json.loads(content)
        metadata = asked["metadata"]
        if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
            return _error(400, "metadata is too long")
        rows = [json.loads(line) for line in self.files[asked["input_file_id"]][1].splitlines()]
        assert {row["url"] for row in rows} == {asked["endpoint"]}
        assert len({row["custom_id"] for row in rows}) == len(rows)
        for row in rows:
            self.submitted[_prompt(row)] += 1
        name = f"batch_{next(self.ids)}"
        fields = {
            "id": name, "object": "batch", "status": "validating", "created_at": 0, **asked,
            "metadata": metadata if self.keeps_metadata else None,
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
        }  # fmt: skip
        ending = self.endings.pop(0) if self.endings else "completed"
        self.batches[name] = Batch(fields, rows, ending, self.looks)
        return _json(fields)

    async def _retrieve(self, parts: Any, headers: dict[str, str], content: bytes) -> Answer:
        batch = self.batches[parts.path.split("/")[3]]
        await self._work(batch)
        return _json(batch.fields)

    async def _list(self, parts: Any, headers: dict[str, str], content: bytes) -> Answer:
        names = list(self.batches)[::-1]
        after = parse_qs(parts.query).get("after", [""])[0]
        names = names[names.index(after) + 1 :] if after else names
        shown = names[: self.page]
        for name in shown:
            await self._work(self.batches[name])
        data = [self.batches[name].fields for name in shown]
        return _json({"object": "list", "data": data, "has_more": len(names) > len(shown)})

    async def _work(self, batch: Batch) -> None:
        if batch.fields["status"] not in ("validating", "in_progress"):
            return
        batch.fields["status"] = "in_progress"
        batch.looks -= 1
        if (self.held and not batch.freed) or batch.looks > 0:
            return
        status, _, code = batch.ending.partition(":")
        batch.fields["status"] = status
        if status == "failed":
            error = {"code": code, "message": f"it is {code}", "line": None, "param": None}
            batch.fields["errors"] = {"object": "list", "data": [error]}
            return
        done: dict[str, list[bytes]] = {"output_file_id": [], "error_file_id": []}
        for number, row in enumerate(batch.rows):
            line = await self._line(row, left_out=status != "completed" and number % 2 == 1)
            if line is not None:
                failed = line["response"] is None or line["response"]["status_code"] != 200
                done["error_file_id" if failed else "output_file_id"].append(
                    json.dumps(line, ensure_ascii=False).encode()
                )
        for key, lines in done.items():
            if lines:
                batch.fields[key] = self._store("batch_output", b"\n".join(lines) + b"\n")
        counts = batch.fields["request_counts"]
        counts["completed"] = len(done["output_file_id"])
        counts["failed"] = len(done["error_file_id"])

    async def _line(self, row: dict[str, Any], *, left_out: bool) -> dict[str, Any] | None:
        prompt, body = _prompt(row), row["body"]
        line = {"id": "x", "custom_id": row["custom_id"], "response": None, "error": None}
        step = "expire" if left_out else self._step(prompt)
        if step == "missing":
            return None
        if step == "expire":
            return {**line, "error": {"code": "batch_expired", "message": "not executed"}}
        for name in sorted(self.rejects & body.keys()):
            answer: Answer = _error(400, f"Unsupported parameter: '{name}'", param=name)
            break
        else:
            answer = await self._play(step, prompt, "messages" in body, body)
        assert not isinstance(answer, str)
        return {**line, "response": {"status_code": answer[0], "body": json.loads(answer[2])}}

    def _store(self, purpose: str, content: bytes) -> str:
        name = f"file_{next(self.ids)}"
        self.files[name] = purpose, content
        return name


def _prompt(row: dict[str, Any]) -> str:
    body = row["body"]
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


def _json(fields: dict[str, Any]) -> Answer:
    return 200, {}, json.dumps(fields).encode()
