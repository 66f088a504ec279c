"""A small OpenAI-compatible server on loopback that answers, and misbehaves on request.

A prompt may begin with a script of what its first requests get, one step for each:
`<429:1 503 hang> What is ...`; after the script, and without one, it is answered. Refusals can
also hit a share of all requests (`refuse`). It counts by prompt what it received and what it
answered, which is what tells whether a call was paid twice.

    python tests/servers/fault_server.py --latency 0.5 --refuse 0.1 --hostile-share 0.3

prints its base URL and serves until it is killed; `GET /counts` gives the counts as JSON.
Written on asyncio's protocols, so that in a benchmark the client is the bound and not this.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import email.utils
import json
import re
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for whoever runs this file

from servers.hostile import ANSWERS, Hostile

_SCRIPT = re.compile(r"<([^>]*)> ?")
_JSON = "application/json"


@dataclass
class FaultServer:
    """What the server does, and what it saw.

    Attributes:
        latency: Seconds until an answer.
        spread: Further seconds at most, chosen by a hash of the prompt.
        refuse: Share of requests that get a 429 at once, chosen by a hash of prompt and attempt.
        retry_after: Seconds that such a refusal asks to wait.
        key: The only key that is let in; None lets all in.
        rejects: Fields of a request that it does not know.
        answers_at_most: Answers that it gives; further requests wait until this is raised.
        hostile_share: Share of requests that get a hostile answer of `servers.hostile`, one that
            does not speak for all requests; chosen by a hash of prompt and attempt.
        hostile_names: Which of them; empty for all.
        hostilities: Hostile answers given, by name.
        received: Requests by prompt.
        answered: Answers by prompt.
        bodies: Every request's fields, if `keep_bodies`.
        peak: Most requests in work at once.
    """

    latency: float = 0.0
    spread: float = 0.0
    refuse: float = 0.0
    retry_after: float = 1.0
    key: str | None = None
    rejects: frozenset[str] = frozenset()
    answers_at_most: int | None = None
    hostile_share: float = 0.0
    hostile_names: tuple[str, ...] = ()
    keep_bodies: bool = False
    hostilities: Counter[str] = field(default_factory=Counter)
    authorization: str = ""
    received: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    working: int = 0
    peak: int = 0
    connections: set[asyncio.Transport] = field(default_factory=set)

    def counts(self) -> dict[str, dict[str, int]]:
        return {"received": dict(self.received), "answered": dict(self.answered)}

    async def answer(
        self, path: str, headers: dict[str, str], content: bytes
    ) -> tuple[int, dict[str, str], bytes] | str:
        """Status, headers and body of an answer.

        `drop` breaks off the connection. Status 0: the body is the name of a hostile answer, NUL,
        and the good answer that it is made from.
        """
        self.authorization = headers.get("authorization", "")
        if path == "/counts":
            return 200, {}, json.dumps(self.counts()).encode()
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, f"Incorrect API key provided: {headers.get('authorization')}")
        if not path.endswith("/completions"):
            return _error(404, f"no such path {path}")
        body = json.loads(content)
        chat = path.endswith("/chat/completions")
        if chat and not body["messages"]:  # so curator asks for a server's limits
            return _error(400, "Empty input messages")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        step = self._step(prompt)
        if self.keep_bodies:
            self.bodies.append({"path": path, **body})
        for name in sorted(self.rejects & body.keys()):
            return _error(400, f"Unsupported parameter: '{name}' is not supported", param=name)
        self.working += 1
        self.peak = max(self.peak, self.working)
        try:
            return await self._play(step, prompt, chat, body)
        finally:
            self.working -= 1

    def _step(self, prompt: str) -> str:
        attempt = self.received[prompt]
        self.received[prompt] += 1
        script = _SCRIPT.match(prompt)
        steps = script[1].split() if script else []
        if attempt < len(steps):
            return steps[attempt]
        if zlib.crc32(f"hostile {attempt} {prompt}".encode()) % 1000 < 1000 * self.hostile_share:
            every = (name for name, answer in ANSWERS.items() if not answer.may_stop)
            names = self.hostile_names or tuple(every)
            return f"raw:{names[zlib.crc32(f'{attempt} {prompt}'.encode()) % len(names)]}"
        share = zlib.crc32(f"{attempt} {prompt}".encode()) % 1000
        return f"429:{self.retry_after}" if share < 1000 * self.refuse else "ok"

    async def _play(
        self, step: str, prompt: str, chat: bool, body: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes] | str:
        name, _, value = step.partition(":")
        match name:
            case "429ms":
                return _error(429, "slow down", {"retry-after-ms": value, "retry-after": "60"})
            case "429date":
                date = email.utils.formatdate(time.time() + float(value), usegmt=True)
                return _error(429, "slow down", {"retry-after": date})
            case "quota":
                return _error(429, "You exceeded your current quota", code="insufficient_quota")
            case "408" | "429" | "500" | "503" | "400" | "401" | "403" | "404":
                texts = {"400": "This model's maximum context length is 512 tokens",
                         "404": "The model `none` does not exist"}  # fmt: skip
                return _error(
                    int(name), texts.get(name, "no luck"), {"retry-after": value} if value else {}
                )
            case "hang":
                await asyncio.sleep(3600)
        if latency := self.latency + self.spread * (zlib.crc32(prompt.encode()) % 1000) / 1000:
            await asyncio.sleep(latency)
        while self.answers_at_most is not None and self.answered.total() >= self.answers_at_most:
            await asyncio.sleep(0.02)
        self.answered[prompt] += 1
        match name:
            case "raw":
                return hostile(value, _completion(prompt, chat, "stop", body))
            case "drop":
                return "drop"
            case "badjson":
                return 200, {}, b'{"choices": [{"text": "half an an'
            case "html":
                return 200, {"content-type": "text/html"}, b"<html>Welcome to the proxy</html>"
            case "nochoices":
                return 200, {}, b'{"choices": [], "usage": null}'
            case "strange":
                return 200, {}, b'{"choices": [{"text": 3}]}'
        finish = name if name in ("length", "content_filter", "error") else "stop"
        return 200, {}, json.dumps(_completion(prompt, chat, finish, body)).encode()


def hostile(name: str, good: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Return what `FaultServer.answer` gives for a hostile answer."""
    return 0, {}, name.encode() + b"\0" + json.dumps(good).encode()


def reply(prompt: str) -> str:
    """What the server answers a prompt: a solution whose answer is a number of the prompt."""
    return f"Thinking about {len(prompt)} letters.\nAnswer: {zlib.crc32(prompt.encode()) % 100}"


def _completion(prompt: str, chat: bool, finish: str, body: dict[str, Any]) -> dict[str, Any]:
    text = reply(prompt)
    words = text.split(" ")
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if chat:
        choice["message"] = {"role": "assistant", "content": text}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": w, "logprob": -0.5} for w in words]}
    else:
        choice["text"] = text
        if body.get("logprobs") is not None:
            choice["logprobs"] = {"tokens": words, "token_logprobs": [-0.5] * len(words)}
    read, written = len(prompt.split()), len(words)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {"id": "x", "object": "x", "model": body["model"], "choices": [choice], "usage": usage}


def _error(
    status: int, message: str, headers: dict[str, str] | None = None, **details: str
) -> tuple[int, dict[str, str], bytes]:
    body = {"error": {"message": message, "type": "error", **details}}
    return status, headers or {}, json.dumps(body).encode()


class _Connection(asyncio.Protocol):
    """HTTP/1.1, as much of it as the client speaks."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        content, self._buffer = rest[:size], rest[size:]
        path = first.split(" ")[1]
        self._task = asyncio.ensure_future(self._serve(path, headers, content))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._transport)
        if self._task is not None:
            self._task.cancel()

    async def _serve(self, path: str, headers: dict[str, str], content: bytes) -> None:
        answer = await self._server.answer(path, headers, content)
        if isinstance(answer, str):
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{")
            self._transport.close()
            return
        status, more, body = answer
        if status == 0:
            name, _, good = body.partition(b"\0")
            await self._serve_hostile(name.decode(), json.loads(good))
            return
        fields = {"content-type": _JSON, "content-length": str(len(body)), **more}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._transport.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)

    async def _serve_hostile(self, name: str, good: dict[str, Any]) -> None:
        """Send a hostile answer, then hang up: the connection may be in any state."""
        self._server.hostilities[name] += 1
        answer: Hostile = ANSWERS[name]
        self._transport.write(answer.make(good, self._server.authorization))
        while answer.repeat and not self._transport.is_closing():
            if self._transport.get_write_buffer_size() < 1 << 20:
                self._transport.write(answer.repeat)
            await asyncio.sleep(answer.every)
        self._transport.close()


async def serve(server: FaultServer, port: int = 0) -> asyncio.Server:
    """Listen on loopback."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Connection(server), "127.0.0.1", port, backlog=4096)


@contextlib.contextmanager
def running(server: FaultServer, port: int = 0) -> Iterator[str]:
    """Serve in a thread while the block runs; gives the base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(serve(server, port), loop).result()
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    finally:

        async def stop() -> None:
            listening.close()
            for transport in list(server.connections):
                transport.abort()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--spread", type=float, default=0.0)
    parser.add_argument("--refuse", type=float, default=0.0)
    parser.add_argument("--hostile-share", type=float, default=0.0)
    parser.add_argument("--retry-after", type=float, default=1.0)
    arguments = parser.parse_args()

    async def forever() -> None:
        options = {name: value for name, value in vars(arguments).items() if name != "port"}
        listening = await serve(FaultServer(**options), arguments.port)
        print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", flush=True)
        await listening.serve_forever()

    asyncio.run(forever())


if __name__ == "__main__":
    main()
